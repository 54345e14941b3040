#!/usr/bin/env bash
# The whole chain on synthetic faces into runs/demo (or the folder given first); a second call continues or reuses.
#   launch/demo.sh [WORKDIR] [--config.field=value …]
set -euo pipefail
here=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install requirements.txt
workdir=$root/runs/demo
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  case $1 in /*) workdir=$1 ;; *) workdir=$here/$1 ;; esac
  shift
fi
exec .venv/bin/python -m facemae_jax run --config=configs/demo.py --workdir="$workdir" "$@"
