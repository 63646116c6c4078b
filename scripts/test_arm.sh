#!/usr/bin/env bash
# test_arm.sh TORCH [FILTER]: compiles the kernels of moe/ops/cpu for 64-bit ARM and runs their tests under emulation.
#
# TORCH is the folder torch/ of an unpacked aarch64 wheel, with what its libtorch_cpu.so loads beside it:
#   pip download torch==2.13.0 --platform manylinux_2_28_aarch64 --only-binary=:all: --python-version 3.11 --no-deps
#   (and nvidia-cuda-runtime, nvidia-cuda-cupti in the versions it names, where it is a wheel for CUDA)
# Needs the Debian packages g++-aarch64-linux-gnu, qemu-user and libgtest-dev (its sources). FILTER as gtest's. What runs:
# kernels against plain loops in float64, and that the program chooses the portable set there. No speed is measured:
# emulation says nothing of it.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] && [ -e "$1/lib/libtorch_cpu.so" ] || { sed -n '2,9s/^# \?//p' "$0" >&2; exit 2; }
torch=$(realpath "$1") filter=${2:-*}
out=build/arm
mkdir -p "$out"

compiler=${MOE_ARM_CXX:-aarch64-linux-gnu-g++}
flags=(-std=c++20 -DNDEBUG -fopenmp -Wall -Wextra -Wno-unused-parameter -I. -isystem "$torch/include"
       -isystem "$torch/include/torch/csrc/api/include" -isystem build/arm/gtest)
# A link to the headers alone: the include folder of this machine holds those of another processor too.
mkdir -p "$out/gtest"
ln -sfn /usr/include/gtest "$out/gtest/gtest"

sources=(moe/base/{error,memory,utf8}.cpp moe/ops/cpu/{expert_mlp,instruction_set,kernel_choice,kernels_plain_tiles,kernels_portable,product}.cpp)
tests=(tests/ops/test_{choice_kernels,cpu_kernels,cpu_stores,kernel_choice,tiles,weight_format,arm}.cpp)

objects=()
# fresh OBJECT: whether nothing it was compiled from is newer.
fresh() {
  [ -e "$1" ] && [ -e "${1%.o}.d" ] || return 1
  local file
  for file in $(sed 's/^[^:]*://; s/\\$//' "${1%.o}.d"); do
    [ ! "$file" -nt "$1" ] || return 1
  done
}
# compile SOURCE FLAGS…
compile() {
  local object="$out/$(basename "${1%.*}").o"
  objects+=("$object")
  fresh "$object" && return
  echo "$1"
  "$compiler" "${flags[@]}" "${@:2}" -MMD -c "$1" -o "$object"
}
for source in "${sources[@]}"; do compile "$source" -O3; done
for source in "${tests[@]}"; do compile "$source" -O1; done
flags+=(-I/usr/src/googletest/googletest)
compile /usr/src/googletest/googletest/src/gtest-all.cc -O1
compile /usr/src/googletest/googletest/src/gtest_main.cc -O1

libraries=$torch/lib:$(find "$(dirname "$torch")" -name 'libcu*.so*' -printf '%h\n' | sort -u | paste -sd:)
"$compiler" "${objects[@]}" -o "$out/test_arm" -L"$torch/lib" -Wl,--no-as-needed -ltorch_cpu -lc10 "$torch"/lib/libgomp.so* \
  -Wl,--allow-shlib-undefined -Wl,-rpath-link,"$libraries" -lpthread
OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} OMP_WAIT_POLICY=passive qemu-aarch64 -L /usr/aarch64-linux-gnu \
  -E LD_LIBRARY_PATH="$libraries" "$out/test_arm" --gtest_brief=1 --gtest_filter="$filter"
