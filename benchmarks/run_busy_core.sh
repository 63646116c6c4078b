#!/usr/bin/env bash
# What a foreign busy process on the last core costs a training step and a decode step: each work alone and beside the
# process, in turn, medians, and their ratio. The threads may use every core, the busy process that one only.
#   benchmarks/run_busy_core.sh [PROGRAM] [ROUNDS]
set -euo pipefail
program=${1:-$(dirname "$0")/../build/release/moe}
rounds=${2:-5}
work=$(mktemp -d)
cores=$(taskset -cp $$ | sed 's/.*: *//; s/.*[,-]//')
busy=
stop_busy() { [ -z "$busy" ] || { kill "$busy" && wait "$busy" || true; } 2>/dev/null; busy=; }
trap 'stop_busy; rm -rf "$work"' EXIT
start_busy() { setsid taskset -c "$cores" bash -c 'while :; do :; done' & busy=$!; sleep 0.3; }

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

layer() { "$program" bench layer --tokens 4096 --d-model 256 --d-ff 512 --experts 8 --mode train --repeat 5 --json | field median_ms; }
model() { "$program" bench model --repeat 5 --json | field median_ms; }
# Milliseconds a token.
decode() {
  "$program" generate "$1" --prompt "Once upon a time" --max-tokens 200 --ignore-end-of-text --json |
    python3 -c 'import json, sys; print(1000 / json.load(sys.stdin)["tokens_per_second"])'
}
# A model to decode with: one step of training is enough.
make_model() {
  "$program" train "$work/run.toml" --out "$work/$1" --max-steps 1 --set "model.d_model=$2" --set "model.layers=$3" >/dev/null 2>&1
}

printf 'Once upon a time there was a mill by the river.\n%.0s' {1..2000} >"$work/text"
cat >"$work/run.toml" <<TOML
[model]
heads = 4
context_length = 256
[model.moe]
num_experts = 8
top_k = 2
[data]
sequence = 64
domains = [{name = "mill", train = "$work/text", valid = "$work/text"}]
[train]
steps = 1
batch = 2
TOML
make_model small 128 4
make_model middle 512 8

measure() { # NAME COMMAND…
  local name=$1
  shift
  : >"$work/alone"; : >"$work/shared"
  for ((i = 0; i < rounds; ++i)); do
    "$@" >>"$work/alone"
    start_busy
    "$@" >>"$work/shared"
    stop_busy
  done
  awk -v name="$name" -v alone="$(median <"$work/alone")" -v shared="$(median <"$work/shared")" \
    'BEGIN {printf "%-44s %9.2f %9.2f %7.2f\n", name, alone, shared, shared / alone}'
}

echo "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(nproc) cores, a busy process on core $cores; medians of $rounds"
echo "OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-} GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-}"
printf '%-44s %9s %9s %7s\n' "milliseconds" alone shared ratio
measure "training step, layer T=4096 D=256 F=512 E=8" layer
measure "training step, model D=128, 4 layers, E=8" model
measure "decode step, D=128, 4 layers, E=8" decode "$work/small"
measure "decode step, D=512, 8 layers, E=8" decode "$work/middle"
