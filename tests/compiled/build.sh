#!/bin/sh
# Builds the wheel whose reader and classifier are compiled, and takes it apart into FOLDER/package: with that first on
# PYTHONPATH the compiled modules are used, and without it never. With gcc it is built twice: the second time for what
# the first one did most often while it read the sample mails (profile-guided optimization).
# usage: tests/compiled/build.sh PYTHON FOLDER   (after tests/servers/install.sh compiled PYTHON)
set -eu
python=$1
folder=$2
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
rm -rf "$folder"
mkdir -p "$folder/source"
folder=$(cd "$folder" && pwd)
# Of a copy, for the compiler leaves what it makes beside the sources, where every import would find it.
cp -R bouncepoll migrations pyproject.toml README.md LICENSE "$folder/source"

build() {
  rm -rf "$folder/objects" "$folder/wheel" "$folder/package"
  find "$folder/source" -name '*.so' -exec rm {} +
  mkdir "$folder/objects"
  (
    cd "$folder/source"
    # The profile of an object is found by the object's path; it fits C that is written, and optimized at first, alike.
    CFLAGS="$cflags -fno-semantic-interposition $1" PYTHONHASHSEED=0 \
      HATCH_MYPYC_BUILD_DIR=$folder/objects HATCH_BUILD_HOOK_ENABLE_MYPYC=true \
      "$python" -m hatchling build -t wheel -d "$folder/wheel"
  )
  "$python" -m zipfile -e "$folder"/wheel/*.whl "$folder/package"
}

# What CFLAGS hold replaces what Python itself was built with, which has to stay.
cflags=$("$python" -c 'import os, sysconfig; print(os.environ.get("CFLAGS") or sysconfig.get_config_var("CFLAGS") or "")')
compiler=$("$python" -c 'import os, sysconfig; print(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")')
if $compiler --version 2>/dev/null | grep -q 'Free Software Foundation'; then
  build "-fprofile-generate=$folder/profile"
  PYTHONSAFEPATH=1 PYTHONPATH=$folder/package:. "$python" -m tests.compiled.train
  build "-fprofile-use=$folder/profile -fprofile-partial-training -Wno-missing-profile"
else
  build ""
fi
rm -rf "$folder/source" "$folder/objects" "$folder/profile"
