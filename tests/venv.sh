#!/bin/sh
# Makes a virtual environment from a hash-pinned requirement file, with uv where it is installed, else with venv and pip.
# usage: tests/venv.sh FOLDER REQUIREMENTS   (PYTHON names the interpreter)
set -eu
venv=$1
requirements=$2

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  if new_enough "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  echo "bouncepoll needs Python 3.11 or newer; install it (Debian: apt-get install python3 python3-venv) or set PYTHON=" >&2
  exit 2
fi

if command -v uv >/dev/null 2>&1; then
  [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
  install() { VIRTUAL_ENV=$venv uv pip install --quiet --python "$venv/bin/python" "$@"; }
else
  if [ ! -x "$venv/bin/pip" ]; then
    "$python" -m venv "$venv" || {
      echo "python3 -m venv failed; install it (Debian: apt-get install python3-venv) or install uv" >&2
      exit 2
    }
  fi
  install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
fi
install --require-hashes -r "$requirements"
install --no-deps --no-build-isolation --editable .
