#!/usr/bin/env bash
# Times MoE layers against dense blocks and against the limits of this machine, and writes a page with pictures.
#   benchmarks/run_bench.sh [PROGRAM] [FOLDER]      FULL=1: every mode, type and step, about half an hour on two cores
# The model: one training step of a small decoder against its dense twin.
set -euo pipefail

program=${1:-$(dirname "$0")/../build/release/moe}
out=${2:-out/bench}
mkdir -p "$out"
full=
[ "${FULL:-0}" = 0 ] || full=--full

"$program" bench suite $full --out "$out/bench.jsonl"
"$program" bench report "$out/bench.jsonl" --out "$out/bench.html"

echo
echo "One training step: vocabulary 256, D=128, 4 layers, F=256, K=2, B=8, S=256"
for experts in 8 64; do
  echo "MoE, $experts experts:"
  "$program" bench model --experts "$experts"
done
echo "dense twin:"
"$program" bench model --dense
