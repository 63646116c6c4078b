#!/usr/bin/env bash
# Runs clang-tidy (.clang-tidy names the checks) over the library, the pages, the corpora and the program.
#
# A header of libtorch costs clang-tidy ten to twenty seconds, so it is shown three files that include all the others: what
# does without libtorch's modules, the rest of the library, and what stands beside it. Kernels are compiled with flags of
# their own and left out. clang 14 does not compile the standard library's ranges: 16 it is.
set -euo pipefail
cd "$(dirname "$0")/.."
torch=${MOE_TORCH:-$(ls -d .venv/lib/python3*/site-packages/torch | head -1)}
units=build/tidy
mkdir -p $units

# unit NAME FOLDER…: one file that includes the sources of the folders.
unit() {
  local name=$1
  shift
  git ls-files --cached --others --exclude-standard -- "${@/%//*.cpp}" | grep -v 'ops/cpu/kernels_' |
    sed "s|.*|#include \"$PWD/&\"|" >$units/"$name".cpp
}
plain=(moe/base moe/config moe/formats moe/data)
left_out=("${plain[@]}")
# An MPI's headers are where its compiler says (Open MPI's words); without one its folder is not looked at.
if mpi=$(mpicc --showme:incdirs 2>/dev/null); then
  mpi=$(printf -- '-isystem %s ' $mpi)
else
  echo "lint: found no Open MPI: moe/mpi is not looked at"
  mpi="" left_out+=(moe/mpi)
fi
mapfile -t rest < <(ls -d moe/*/ | sed 's|/$||' | grep -vxF "$(printf '%s\n' "${left_out[@]}")")
unit plain "${plain[@]}"
unit library "${rest[@]}"
unit beside report corpora tools

printf '%s\n' library beside plain | xargs -P "$(nproc)" -I{} sh -c '
  clang-tidy-16 --config-file=.clang-tidy --quiet '$units'/{}.cpp -- -std=c++20 -I. -DMOE_VERSION=\"\" '"$mpi"' \
    -isystem "'"$torch"'/include" -isystem "'"$torch"'/include/torch/csrc/api/include" >'$units'/{}.log 2>&1 ||
    { grep -v "warnings generated" '$units'/{}.log; exit 1; }'
