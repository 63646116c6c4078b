#!/usr/bin/env bash
# The demo: a Mixture-of-Experts language model and its dense twin, trained on text the program generates itself, compared,
# and sampled. Everything goes into out/demo. Usage: demo.sh PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
moe=$1
out=out/demo
stage() { printf '\n== %s\n' "$*"; }

stage "1/4 generate text: four domains, fixed by seed (seconds)"
"$moe" data synth --out $out/data

stage "2/4 train the MoE model and its dense twin of equal active FLOPs (about 5 minutes on 2 quiet cores)"
"$moe" compare configs/demo.toml --out $out

stage "3/4 who routes where: do experts prefer domains? (seconds)"
"$moe" analyze $out/moe --domains english,turkish

stage "4/4 samples from both (seconds)"
while IFS= read -r prompt; do
  for model in moe dense; do
    printf '\n--- %s: "%s"\n' "$model" "$prompt"
    "$moe" generate $out/$model --prompt "$(printf '%b' "$prompt")" --max-tokens 240 --temperature 0.5 --seed 1 --stop $'\n\n'
    printf '\n'
  done
done < configs/demo_prompts.txt
printf '\nEverything is in %s: data/, moe/, dense/ (config.toml, metrics.jsonl, checkpoints/).\n' $out
printf 'To look at: %s/report.html\n' $out
