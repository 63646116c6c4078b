#!/usr/bin/env bash
# Times the encoding of a text on one thread, and the Python package `tokenizers` on the same where python3 has it.
#   benchmarks/run_tokenize.sh TEXT TOKENIZER.json [PROGRAM] [REPEAT]
set -euo pipefail
here=$(dirname "$0")
program=${3:-$here/../build/release/moe}
repeat=${4:-5}
"$program" bench tokenize "$1" --tokenizer "$2" --repeat "$repeat" --json
python3 "$here/peers/time_tokenizers.py" "$1" "$2" "$repeat"
