#!/bin/sh
# Runs the unit tests, and those of what goes from process to process, on every Python that this machine has: the
# system's own, which may be of another patch level, and one of each given version.
set -eu
ran=
for version in system "$@"; do
  for python in "python$version" "$HOME"/.pyenv/versions/"$version"*/bin/python /usr/bin/python3; do
    # The system's own comes first, and counts for its version only if no other is found.
    [ "$version" != system ] || [ "$python" = /usr/bin/python3 ] || continue
    found=$("$python" -c 'import platform, sys; print(platform.python_version()); sys.exit(sys.version_info < (3, 11))' 2>/dev/null) || continue
    case $version:$found in system:* | "$version":"$version".*) ;; *) continue ;; esac
    case " $ran " in *" $found "*) break ;; esac
    echo "== Python $found"
    PYTHON=$python tests/venv.sh ".venv-$found" requirements/dev.txt
    ".venv-$found/bin/python" -m pytest tests/unit tests/integration/isolation -q -p no:cacheprovider
    ran="$ran $found"
    break
  done
done
echo "tests ran on:$ran"
[ -n "$ran" ]
