#!/usr/bin/env bash
# A TPU VM pod slice: takes this commit to every worker, installs it there, and starts one process on each.
#   TPU=my-pod ZONE=us-east5-a launch/tpu_pod.sh [VERB] --config=configs/webface42m.py --workdir=/mnt/shared/runs/mine [--config.mesh.fsdp=4 …]
#   … launch/tpu_pod.sh --dry-run …   prints the gcloud commands and runs none
# Everything goes to python -m facemae_jax; without a VERB it is run. Nothing to edit; from the environment:
#   TPU, ZONE   the pod, as in  gcloud compute tpus tpu-vm list
#   SETUP       what every worker does first, for example to mount the disk of --workdir, which all must see:
#               SETUP='mountpoint -q /mnt/shared || sudo mount -t nfs SERVER:/share /mnt/shared'
#   SOURCE      the commit that is taken (default HEAD; what is not committed stays here)
# The run lasts as long as this command: start it inside tmux. To stop it, with everything saved, and go on later by the same command:
#   gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="pkill -TERM -f '[-]m facemae_jax'"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/options.sh
needs TPU ZONE
needs_verb
archive=facemae_jax.tar.gz
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
where=(--zone="$ZONE" --worker=all)

# What each worker does. TPU VM images come with a Python that is too old; uv brings one.
worker="set -e
${SETUP:-:}
mkdir -p ~/facemae_jax
tar -xzf ~/$archive -C ~/facemae_jax
cd ~/facemae_jax
source launch/environment.sh
find_python >/dev/null 2>&1 || {
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
  PATH=~/.local/bin:\$PATH
  uv python install --quiet 3.12
  export PYTHON=\$(uv python find 3.12)
}
install requirements.txt launch/requirements-tpu.txt
exec .venv/bin/python -m facemae_jax $(quoted "${arguments[@]}") --processes=auto"

launch git archive --format=tar.gz --output="$scratch/$archive" "${SOURCE:-HEAD}"
launch gcloud compute tpus tpu-vm scp "$scratch/$archive" "$TPU:$archive" "${where[@]}"
if [ "$dry_run" = 0 ]; then
  gcloud compute tpus tpu-vm ssh "$TPU" "${where[@]}" --batch-size=all --command="$worker"
else
  printf 'gcloud compute tpus tpu-vm ssh %s %s --batch-size=all --command="\n%s"\n' "$TPU" "${where[*]}" "$worker"
fi
