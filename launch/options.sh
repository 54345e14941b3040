# shellcheck shell=bash
# Sourced by the scripts that launch runs: takes --help and --dry-run (or DRY_RUN=1) out of the arguments, and leaves the rest in
# `arguments`. Not for running by itself.

dry_run=${DRY_RUN:-0}
arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,/^[^#]/{/^# /s/^# //p;}' "$0" # the comment at the top of the script
      exit 0
      ;;
    --dry-run) dry_run=1 ;;
    *) arguments+=("$argument") ;;
  esac
done

# needs_verb: puts `run` in front of the arguments where no verb stands there
needs_verb() {
  case ${arguments[0]:--} in -*) arguments=(run ${arguments[@]+"${arguments[@]}"}) ;; esac
}

# launch COMMAND…: runs it; in a dry run prints it instead
launch() {
  if [ "$dry_run" = 0 ]; then "$@"; else quoted "$@"; fi
}

# quoted WORD…: one line that a shell reads as these words
quoted() {
  local line
  line=$(printf ' %q' "$@")
  printf '%s\n' "${line# }"
}

# needs NAME…: variables that must be set
needs() {
  local name
  for name in "$@"; do
    [ -n "${!name:-}" ] || {
      echo "error: set $name, as in  $name=… $0 …  (--help says what it is)." >&2
      exit 2
    }
  done
}
