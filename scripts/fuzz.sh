#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET…]: runs the fuzz targets (default: all of tests/fuzz/targets.def) for so many seconds each.
#
# Build them first: cmake --preset fuzz && cmake --build --preset fuzz. New inputs that reach new code are kept in
# build/fuzz/corpus/TARGET, so that the next run goes on from there; what breaks a target lands in
# build/fuzz/broken/TARGET. Mend the code, and keep the (minimised) input in tests/fuzz/found/TARGET: every ordinary
# test run replays it. Exit status 1 when something broke.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} =~ ^[0-9]+$ ]] || { sed -n '2,7s/^# \?//p' "$0" >&2; exit 2; }
seconds=$1
shift
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(sed -nE 's/^X\(([a-z_]+)\).*/\1/p' tests/fuzz/targets.def)

status=0
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target broken=build/fuzz/broken/$target
  mkdir -p "$corpus" "$broken"
  inputs=("$corpus" "tests/fuzz/seeds/$target")
  [ ! -d "tests/fuzz/found/$target" ] || inputs+=("tests/fuzz/found/$target")
  case $target in
    toml | run_options) dictionary=toml ;;
    hf_config) dictionary=hf_config ;;
    *) dictionary=json ;;
  esac
  # One allocation may be 64 MiB and all together 2 GiB (a sanitized libtorch takes half of one to load): the inputs
  # have at most 16 KiB.
  "build/fuzz/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -max_len=16384 -malloc_limit_mb=64 \
    -rss_limit_mb=2048 -dict="tests/fuzz/dictionaries/$dictionary.dict" -artifact_prefix="$broken/" \
    -print_final_stats=1 "${inputs[@]}" >"build/fuzz/$target.log" 2>&1 || status=1
  echo "$target: $(grep -oE 'cov: [0-9]+ ft: [0-9]+' "build/fuzz/$target.log" | tail -1)," \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$target.log") executions," \
    "$(find "$broken" -type f | wc -l) broken"
done
exit $status
