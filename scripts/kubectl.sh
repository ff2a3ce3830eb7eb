#!/bin/sh
# Fetch Debian's kubectl into .cache/kubectl, for the functional tests.  Its package conflicts with other kubectls, so
# it is unpacked, not installed.
set -eu
cd "$(dirname "$0")/.."
[ -x .cache/kubectl/usr/bin/kubectl ] && exit 0
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
(cd "$directory" && apt-get download kubernetes-client)
mkdir -p .cache/kubectl
dpkg -x "$directory"/kubernetes-client_*.deb .cache/kubectl
