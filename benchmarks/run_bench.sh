#!/usr/bin/env bash
# Times MoE against its dense twins on this machine and prints tables.
#   benchmarks/run_bench.sh [PROGRAM] [REPEAT]
# The layer: E = 8, 64, 512 experts of T=4096 D=256 F=512 K=2 against one block of K F hidden units, in turn.
# The model: one training step of a small decoder against its dense twin.
set -euo pipefail

program=${1:-$(dirname "$0")/../build/release/moe}
repeat=${2:-10}

"$program" bench compare --tokens 4096 --d-model 256 --d-ff 512 --top-k 2 --experts 8,64,512 \
  --mode forward,train --dtypes float32,bfloat16 --repeat "$repeat"

echo
echo "One training step: vocabulary 256, D=128, 4 layers, F=256, K=2, B=8, S=256"
for experts in 8 64; do
  echo "MoE, $experts experts:"
  "$program" bench model --experts "$experts" --repeat "$repeat"
done
echo "dense twin:"
"$program" bench model --dense --repeat "$repeat"
