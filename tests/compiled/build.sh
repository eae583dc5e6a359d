#!/bin/sh
# Builds the wheel whose reader and classifier are compiled, and takes it apart into FOLDER/package: with that first on
# PYTHONPATH the compiled modules are used, and without it never.
# usage: tests/compiled/build.sh PYTHON FOLDER   (after tests/servers/install.sh compiled PYTHON)
set -eu
python=$1
folder=$2
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
rm -rf "$folder"
mkdir -p "$folder/source"
# Of a copy, for the compiler leaves what it makes beside the sources, where every import would find it.
cp -R bouncepoll migrations pyproject.toml README.md LICENSE "$folder/source"
(cd "$folder/source" && HATCH_BUILD_HOOK_ENABLE_MYPYC=true "$python" -m hatchling build -t wheel -d ../wheel)
"$python" -m zipfile -e "$folder"/wheel/*.whl "$folder/package"
rm -rf "$folder/source"
