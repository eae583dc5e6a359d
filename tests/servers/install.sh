#!/bin/sh
# Installs the servers the tests start (as private instances on loopback) from Debian's packages, when they are missing.
# usage: tests/servers/install.sh [bench | compiled PYTHON]
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
have() { command -v "$1" >/dev/null 2>&1; }
have dovecot && [ -e /usr/lib/dovecot/imap ] || missing="$missing dovecot-imapd"
[ -e /usr/lib/dovecot/pop3 ] || missing="$missing dovecot-pop3d"
have postfix || missing="$missing postfix"
have systemd-analyze || missing="$missing systemd"
if [ "${1:-}" = bench ]; then
  perl -MSisimai -e 1 >/dev/null 2>&1 || missing="$missing libsisimai-perl"
fi
if [ "${1:-}" = compiled ]; then
  have cc || missing="$missing gcc libc6-dev"
  "$2" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' ||
    missing="$missing python3-dev"
fi
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing faketime"
have pgbouncer || missing="$missing pgbouncer"
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" != 0 ]; then
  if have sudo && sudo -n true 2>/dev/null; then root=sudo; else root=none; fi
fi
if [ "$root" = none ] || ! have apt-get; then
  echo "the tests need these Debian packages, and only root can install them: apt-get install$missing" >&2
  exit 2
fi
echo "installing:$missing"
# The tests start instances of their own: none of the packages' services is to start here because of them.
log=$(mktemp)
$root sh -s "$missing" >"$log" 2>&1 <<'ROOT' || { tail -20 "$log" >&2; exit 1; }
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1
ROOT
rm -f "$log"
