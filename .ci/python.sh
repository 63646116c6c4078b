#!/usr/bin/env bash
# python.sh FOLDER: a Python environment in FOLDER with the packages that tests compare with, or exit status 1 where pip
# reaches no index. libtorch's wheel, which brings its Python package, is looked at and not installed a second time.
set -euo pipefail
folder=$1
packages=(numpy safetensors tensorboard tokenizers transformers)
if ! "$folder/bin/python" -c "import ${packages[*]/%/,} sys" 2>/dev/null; then
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" || { rm -rf "$folder"; exit 1; }
fi
torch=${MOE_TORCH:-$(ls -d "$PWD"/.venv/lib/python3*/site-packages/torch 2>/dev/null | head -1)}
if [ -f "$torch/__init__.py" ]; then
  dirname "$(realpath "$torch")" >"$(ls -d "$folder"/lib/python3*/site-packages)/torch_beside.pth"
fi
