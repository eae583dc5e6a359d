#!/bin/sh
# Runs the unit tests on every Python of the given versions that this machine has.
set -eu
ran=0
for version in "$@"; do
  for python in "python$version" "$HOME"/.pyenv/versions/"$version"*/bin/python; do
    "$python" -c '' >/dev/null 2>&1 || continue
    echo "== Python $version"
    PYTHON=$python tests/venv.sh ".venv-$version" requirements/dev.txt
    ".venv-$version/bin/python" -m pytest tests/unit -q -p no:cacheprovider
    ran=$((ran + 1))
    break
  done
done
echo "unit tests ran on $ran of $# Python versions"
[ "$ran" -gt 0 ]
