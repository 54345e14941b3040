# Sourced by the other scripts: makes .venv at the root of the repository and installs what is asked for, once.
# Uses uv when it is there, else venv and pip. PYTHON=/path/to/python chooses the interpreter (3.11 or newer).
# Not for running by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.12 python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  echo "error: Python 3.11, 3.12 or 3.13 is needed; install one, or set PYTHON=/path/to/python." >&2
  return 1
}

# install FILE…: requirements files, skipped when exactly these were installed before
install() {
  local stamp
  stamp=.venv/.installed-$(cat "$@" | sha256sum | cut -c1-16)
  [ -e "$stamp" ] && return
  local python
  python=$(find_python)
  [ -x .venv/bin/python ] || {
    echo "making .venv with $($python --version)"
    if command -v uv >/dev/null 2>&1; then uv venv --quiet --python "$python" .venv; else "$python" -m venv .venv; fi
  }
  echo "installing $*"
  local arguments=()
  for file in "$@"; do arguments+=(-r "$file"); done
  if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --compile-bytecode --python .venv/bin/python "${arguments[@]}"
  else
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "${arguments[@]}"
  fi
  touch "$stamp"
}
