#!/usr/bin/env bash
# The drill of a pod on this machine: several real processes with CPU devices of their own train, one of them is killed, one process with
# two devices finishes, all of them reconstruct and verify; then everything is compared with one process on one device.
#   launch/local_pod.sh [PROCESSES=2] [DEVICES=4]   devices of each process; PROCESSES × DEVICES divides 16
#   launch/local_pod.sh --dry-run                   prints the commands and runs none
# Minutes on two cores. The last line is the verdict; the exit code is 0 when everything is the same. Nothing to edit; from the environment:
#   WORKDIR   an empty folder for the results, kept; by default a temporary one, kept when something differs
set -euo pipefail
here=$PWD
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$folder/options.sh"
source "$folder/environment.sh"
processes=${arguments[0]:-2} devices=${arguments[1]:-4}
[ $((16 % (processes * devices))) = 0 ] || { echo "error: $processes × $devices devices do not divide 16." >&2; exit 2; }

# Trainings in which a last bit does not grow into the fifth digit: Adam's divisions, large logits, and strong relations of faces that are
# still grey multiply it in a few steps, on one process too. What is compared then shows faults, and nothing else.
settings=(--config=configs/demo.py)
while read -r setting; do settings+=("--config.$setting"); done <<'SETTINGS'
data.image_size=32
synthetic.identities=24
synthetic.images=6
teacher.embedding=16
teacher.margin.scale=4
teacher.optim.epochs=6
teacher.optim.batch=16
teacher.optim.learning_rate=0.01
teacher.optim.log_every=1
mae.width=32
mae.depth=2
mae.heads=2
mae.decoder_width=16
mae.decoder_depth=1
mae.decoder_heads=2
mae.irm_weight=0.1
mae.relation_from=0.8
mae.optim.optimizer=sgd
mae.optim.momentum=0.5
mae.optim.learning_rate=0.02
mae.optim.epochs=12
mae.optim.log_every=1
mae.optim.save_every=10
recognizer.variants=original,reconstruction
recognizer.embedding=16
recognizer.margin.scale=4
recognizer.optim.epochs=6
recognizer.optim.batch=16
recognizer.optim.learning_rate=0.01
recognizer.optim.log_every=1
reconstruct.batch=2
reconstruct.shard_records=20
verify.identities=20
verify.count=400
verify.batch=32
audit.variants=original,reconstruction
audit.max_queries=48
audit.max_gallery=96
audit.batch=16
SETTINGS

if [ "$dry_run" != 0 ]; then
  echo "SETTINGS: $(quoted "${settings[@]}")"
  settings=(SETTINGS) work=${WORKDIR:-WORKDIR}
elif [ -n "${WORKDIR:-}" ]; then
  case $WORKDIR in /*) work=$WORKDIR ;; *) work=$here/$WORKDIR ;; esac
  mkdir -p "$work"
  [ -z "$(ls -A "$work")" ] || { echo "error: WORKDIR=$WORKDIR is not empty." >&2; exit 2; }
else
  work=$(mktemp -d)
fi
launch install requirements.txt

running=() verdict=
# shellcheck disable=SC2329 # called by the trap
finish() {
  for pid in ${running[@]+"${running[@]}"}; do kill -9 "$pid" 2>/dev/null || true; done
  if [ "$dry_run" = 0 ] && [ -z "$verdict" ]; then echo "local pod: DIFFERENT: the drill broke off; see above and $work"; fi
}
trap finish EXIT

# start COUNT DEVICES VERB WORKDIR: that many processes, into `running`
start() {
  local number port=PORT
  running=()
  if [ "$dry_run" = 0 ]; then
    echo "--- $3: $1 × $2 devices, $4"
    port=$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')
  fi
  for ((number = 0; number < $1; number++)); do
    local command=(env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="$2" .venv/bin/python -m facemae_jax "$3" "${settings[@]}")
    command+=(--workdir="$4" --secret-file="$work/secret")
    if [ "$1" != 1 ]; then command+=(--processes="localhost:$port,$1,$number"); fi
    if [ "$dry_run" = 0 ]; then
      "${command[@]}" &
      running+=($!)
    else
      launch "${command[@]}"
    fi
  done
}

# ended: waits for all that were started; 0 when all succeeded
ended() {
  local pid code=0
  for pid in ${running[@]+"${running[@]}"}; do wait "$pid" || code=1; done
  running=()
  return "$code"
}

# killed: after the first checkpoint one process is killed; the others end by themselves
killed() {
  local victim=${running[${#running[@]} - 1]}
  until compgen -G "$work/pod/train-mae-*/checkpoints/*/_CHECKPOINT_METADATA" >/dev/null; do
    kill -0 "$victim" || return
    sleep 0.05
  done
  kill -9 "$victim"
  ended || true
  if compgen -G "$work/pod/train-mae-*/done.json" >/dev/null; then
    echo "error: it had finished before it was killed; make mae.optim.epochs larger." >&2
    return 1
  fi
}

start 1 1 run "$work/alone"
ended
for verb in import-faces train-teacher; do
  start "$processes" "$devices" "$verb" "$work/pod"
  ended
done
start "$processes" "$devices" train-mae "$work/pod"
if [ "$dry_run" = 0 ]; then killed; else echo "kill -9 \$!   # after the first checkpoint"; fi
start 1 2 train-mae "$work/pod"
ended
for verb in reconstruct run; do
  start "$processes" "$devices" "$verb" "$work/pod"
  ended
done
verdict=0
launch .venv/bin/python launch/compare_runs.py "$work/alone" "$work/pod" --name="local pod" || verdict=1
if [ "$dry_run" = 0 ] && [ "$verdict" = 0 ] && [ -z "${WORKDIR:-}" ]; then rm -rf "$work"; fi
exit "$verdict"
