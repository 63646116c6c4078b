#!/usr/bin/env bash
# Prints docs/kinds.md: every registered kind with its options, from the program's registries. Usage: list_kinds.sh PROGRAM
set -euo pipefail
cat <<'TEXT'
# Every registered kind

Routers, balance terms, experts, dispatchers, mixers, feed-forward blocks, objectives, optimizers, architectures and model
families, each with its options and their defaults: what `moe inspect --list`
prints. A test compares this page with the program; `scripts/list_kinds.sh build/release/moe > docs/kinds.md` writes it anew.

```
TEXT
"$1" inspect --list
echo '```'
