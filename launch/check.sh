#!/usr/bin/env bash
# Format, lint, types, tests: what a change must pass.  launch/check.sh --fix  formats first.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install requirements.txt launch/requirements-dev.txt
code=(facemae_jax configs tests)
if [ "${1:-}" = --fix ]; then
  .venv/bin/ruff format --quiet "${code[@]}"
  .venv/bin/ruff check --quiet --fix "${code[@]}"
  shift
fi
.venv/bin/ruff format --check --quiet "${code[@]}" || { echo "error: format differs; run launch/check.sh --fix" >&2; exit 1; }
.venv/bin/ruff check --quiet "${code[@]}"
.venv/bin/mypy --config-file .mypy.ini
for script in launch/*.sh .ci/run; do bash -n "$script"; done
exec launch/test.sh "$@"
