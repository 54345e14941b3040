#!/usr/bin/env bash
# One machine, one process that drives all its GPUs (its CPUs where there are none): makes .venv, installs, runs.
#   launch/machine.sh [VERB] --config=configs/casia.py --workdir=runs/casia [--config.mesh.fsdp=2 …]
#   launch/machine.sh --dry-run …   prints what would be done and does nothing
# Everything goes to python -m facemae_jax; without a VERB it is run. Nothing to edit; from the environment:
#   GPUS=0,1    only these of the machine's GPUs
# Exit code 143: a SIGTERM came and everything is saved; the same command goes on.
set -euo pipefail
here=$PWD
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$folder/options.sh"
source "$folder/environment.sh"
needs_verb
requirements=(requirements.txt)
if command -v nvidia-smi >/dev/null; then requirements+=(launch/requirements-gpu.txt); fi
launch install "${requirements[@]}"
cd "$here" # --config and --workdir may be given from there
command=(env PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}")
if [ -n "${GPUS:-}" ]; then command+=(CUDA_VISIBLE_DEVICES="$GPUS"); fi
command+=("$root/.venv/bin/python" -m facemae_jax "${arguments[@]}")
if [ "$dry_run" = 0 ]; then exec "${command[@]}"; fi # python gets the signals itself
launch "${command[@]}"
