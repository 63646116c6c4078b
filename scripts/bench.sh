#!/usr/bin/env bash
# Times the MoE layer against a dense layer of equal active FLOPs for E = 8, 64, 512; usage: bench.sh PROGRAM
set -euo pipefail
"$1" bench compare "${@:2}"
