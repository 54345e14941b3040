#!/usr/bin/env bash
# One run over the nodes of a SLURM job. From the root of the checkout:
#   sbatch launch/slurm.sh [VERB] --config=configs/casia.py --workdir=/shared/runs/casia [--config.mesh.fsdp=8 …]
#   launch/slurm.sh --dry-run …   prints what the job would start and starts nothing
# Everything goes to python -m facemae_jax; without a VERB it is run. Edit the #SBATCH lines below, or give others to sbatch: nodes,
# GPUs of each, time, your partition and account. The checkout, its .venv (launch/machine.sh makes it on a node with GPUs) and
# --workdir lie on a disk that all nodes see. One task per node drives all its GPUs; --ntasks-per-node = the number of GPUs works too.
# Two minutes before the time limit, and when a preemption leaves time, SLURM sends TERM: a training saves, ends with exit code 143,
# and the job puts itself into the queue again, to go on. REQUEUE=0: it does not. A job that scancel ended stays ended.
#SBATCH --job-name=facemae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=facemae-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}" # sbatch runs a copy of this file, which lies elsewhere
[ -e launch/options.sh ] || { echo "error: submit from the root of the checkout; $PWD is not." >&2; exit 2; }
source launch/options.sh
needs_verb

# Under SLURM, JAX gives each task the one GPU of its number on the node, unless told otherwise.
if [ "${SLURM_NTASKS_PER_NODE:-1}" = 1 ] && [ -n "${SLURM_GPUS_ON_NODE:-}" ]; then
  JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((SLURM_GPUS_ON_NODE - 1)))
  export JAX_LOCAL_DEVICE_IDS
fi
# kill-on-bad-exit=0: the first to end with 143 must not have the others killed that still save.
step=(srun --kill-on-bad-exit=0 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"})
step+=(.venv/bin/python -m facemae_jax "${arguments[@]}" --processes=auto)
if [ "$dry_run" != 0 ]; then
  echo "JAX_LOCAL_DEVICE_IDS=${JAX_LOCAL_DEVICE_IDS:-} $(quoted "${step[@]}")"
  exit
fi
[ -n "${SLURM_JOB_ID:-}" ] || { echo "error: this is a job: sbatch launch/slurm.sh …" >&2; exit 2; }
[ -x .venv/bin/python ] || { echo "error: $PWD/.venv is missing; launch/machine.sh makes it." >&2; exit 2; }

# TERM goes to the tasks (--signal without B:). Where a site sends it to this shell, it is passed on through SLURM: srun itself would
# have its tasks killed at once. Not at a second one: the first is on its way.
told=0
again=0
# shellcheck disable=SC2329 # called by the trap
pass_on() {
  again=1
  if [ "$told" = 0 ]; then scancel --signal=TERM "$SLURM_JOB_ID" || true; fi
  told=1
}
trap pass_on TERM
"${step[@]}" &
running=$!
while
  again=0 code=0
  wait "$running" || code=$?
  [ "$again" = 1 ] # it was the signal that ended the wait
do :; done

if [ "$code" = 143 ] && [ "${REQUEUE:-1}" != 0 ]; then
  case $(scontrol show job "$SLURM_JOB_ID" || true) in
    *JobState=RUNNING*) scontrol requeue "$SLURM_JOB_ID" ;;
    *) echo "stopped by hand: not queued again; the same sbatch command goes on." >&2 ;;
  esac
fi
exit "$code"
