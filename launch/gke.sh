#!/usr/bin/env bash
# A GKE cluster with JobSet installed: fills in launch/gke_jobset.yaml and submits it.
#   KIND=gpu HOSTS=2 CHIPS=8 ACCELERATOR=nvidia-h100-80gb  IMAGE=… CLAIM=… launch/gke.sh [VERB] --config=configs/casia.py --workdir=/shared/runs/casia
#   KIND=tpu HOSTS=4 CHIPS=4 ACCELERATOR=tpu-v5-lite-podslice TOPOLOGY=4x4  IMAGE=… CLAIM=… launch/gke.sh …
#   … launch/gke.sh --dry-run …   prints the manifest and submits nothing
# Everything goes to python -m facemae_jax; without a VERB it is run. Edit gke_jobset.yaml where your cluster wants more; from the environment:
#   KIND          gpu or tpu
#   HOSTS, CHIPS  nodes, and GPUs or TPU chips of each
#   ACCELERATOR   the nodes' label cloud.google.com/gke-accelerator (gpu) or …/gke-tpu-accelerator (tpu)
#   TOPOLOGY      of a TPU slice: the product is HOSTS × CHIPS
#   IMAGE         made with launch/Containerfile and pushed where the cluster finds it
#   CLAIM         a PersistentVolumeClaim (ReadWriteMany, for example Filestore), mounted at MOUNT (default /shared), where --workdir lies
#   NAME          of the run (default facemae); before the same name can be submitted again:  kubectl delete jobset NAME
#   RESTARTS      how often all pods may start again after a preemption or a failure (default 20)
# kubectl's own context and namespace are used. Pods stop with everything saved when deleted; the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/options.sh
needs KIND HOSTS CHIPS ACCELERATOR IMAGE CLAIM
NAME=${NAME:-facemae} MOUNT=${MOUNT:-/shared} RESTARTS=${RESTARTS:-20} TOPOLOGY=${TOPOLOGY:-}
needs_verb
arguments=("${arguments[@]//\$(/\$\$(}") # Kubernetes would fill in $(NAME)

refuse() {
  echo "error: $*" >&2
  exit 2
}
for name in HOSTS CHIPS ACCELERATOR IMAGE CLAIM NAME MOUNT RESTARTS TOPOLOGY; do
  case ${!name} in *[!A-Za-z0-9._/:@-]*) refuse "$name=${!name}: letters, digits and ._/:@- only." ;; esac
done
for name in HOSTS CHIPS RESTARTS; do
  case ${!name} in *[!0-9]* | 0?*) refuse "$name=${!name}: give a number." ;; esac
done
case $KIND in
  gpu)
    other=tpu
    # The first pod's name from the headless service that JobSet makes, its own number from the index that Kubernetes gives it.
    arguments+=("--processes=$NAME-workers-0-0.$NAME:8476,$HOSTS,\$(JOB_COMPLETION_INDEX)")
    ;;
  tpu)
    other=gpu
    needs TOPOLOGY
    [[ $TOPOLOGY =~ ^[0-9]+(x[0-9]+){1,2}$ ]] || refuse "TOPOLOGY=$TOPOLOGY: give 4x4 or 2x2x4."
    [ $((${TOPOLOGY//x/ * })) = $((HOSTS * CHIPS)) ] || refuse "TOPOLOGY=$TOPOLOGY has not HOSTS=$HOSTS × CHIPS=$CHIPS chips."
    arguments+=(--processes=auto) # GKE tells TPU pods what JAX needs to know
    ;;
  *) refuse "KIND=$KIND: gpu or tpu." ;;
esac

# list WORD…: as a list of YAML
list() {
  local word items=
  for word in "$@"; do
    word=${word//\\/\\\\}
    items+=", \"${word//\"/\\\"}\""
  done
  printf '[%s]' "${items#, }"
}

manifest() {
  local line
  sed -e "/ # $other\$/d" -e "s/ # $KIND\$//" -e '/^ *#/d' launch/gke_jobset.yaml | while IFS= read -r line; do
    for name in HOSTS CHIPS ACCELERATOR IMAGE CLAIM NAME MOUNT RESTARTS TOPOLOGY; do line=${line/\$\{$name\}/${!name}}; done
    case $line in *ARGUMENTS*) line="${line%\$*}$(list "${arguments[@]}")" ;; esac
    printf '%s\n' "$line"
  done
}

if [ "$dry_run" = 0 ]; then
  manifest | kubectl create -f -
else
  manifest
fi
