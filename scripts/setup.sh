#!/usr/bin/env bash
# Installs what is missing: the Debian packages of debian-packages.txt, and libtorch (through pip) into .venv unless
# MOE_TORCH names one. TORCH_INDEX=URL is passed to pip as its index.
set -euo pipefail
cd "$(dirname "$0")/.."
torch_version=2.13.0

mapfile -t wanted < <(grep -v '^#' scripts/debian-packages.txt)
missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  install="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" != 0 ] && ! { command -v sudo >/dev/null && sudo -v; }; then
    echo "error: [setup] these packages are missing and need root to install. Run: sudo sh -c 'apt-get update && $install'" >&2
    exit 1
  fi
  echo "setup: installing ${#missing[@]} Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive $install >/dev/null
fi

if [ -n "${MOE_TORCH:-}" ]; then
  [ -f "$MOE_TORCH/include/ATen/core/Tensor.h" ] || {
    echo "error: [setup] expected a libtorch (include/ and lib/) in MOE_TORCH=$MOE_TORCH, found none. Correct or unset it." >&2
    exit 1
  }
  echo "setup: libtorch from MOE_TORCH"
elif ! ls .venv/lib/python3*/site-packages/torch/include/ATen/core/Tensor.h >/dev/null 2>&1; then
  echo "setup: installing torch $torch_version into .venv: some minutes, and gigabytes unless TORCH_INDEX names an index of" \
    "CPU-only wheels (https://download.pytorch.org/whl/cpu)"
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==$torch_version"
fi
echo "setup: ready"
