#!/bin/sh
# Install the Debian packages of a purpose that are missing here:  scripts/packages.sh python|engine|demo|tests|pause|node…
#
# The program counts, not the package: an engine of Docker's own packages is as good as Debian's.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=

# need PACKAGE CONDITION…: PACKAGE is missing unless the command CONDITION succeeds.
need() {
    package=$1
    shift
    case " $missing " in *" $package "*) return ;; esac
    if ! "$@" >/dev/null 2>&1; then
        missing="$missing $package"
    fi
}

has() {
    command -v "$1"
}

static_busybox() {
    [ -x /bin/busybox ] && ! ldd /bin/busybox
}

# dockerd must load its profile if the kernel has AppArmor.
no_apparmor_or_parser() {
    ! grep -q Y /sys/module/apparmor/parameters/enabled || has apparmor_parser
}

cgroups_mounted() {
    grep -q ' /sys/fs/cgroup' /proc/self/mountinfo
}

engine() {
    need docker.io has dockerd
    need containerd has containerd
    need runc has runc
    need iptables has iptables
    need apparmor no_apparmor_or_parser
    need cgroupfs-mount cgroups_mounted
}

# The C compiler for an architecture, native or not; in Debian both have the same form of name.
compiler() {
    case $(dpkg --print-architecture)/$1 in
        amd64/x86_64 | arm64/aarch64) need gcc has "$1-linux-gnu-gcc" ;;
        *) need "gcc-$(echo "$1" | tr _ -)-linux-gnu" has "$1-linux-gnu-gcc" ;;
    esac
}

for purpose in "$@"; do
    case $purpose in
        python)
            need python3-venv python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'
            ;;
        engine)
            engine
            need ca-certificates [ -e /etc/ssl/certs/ca-certificates.crt ]
            ;;
        demo)
            need busybox-static static_busybox
            ;;
        tests)
            engine
            need docker-registry has docker-registry
            need prometheus has promtool
            need chromium has chromium
            need fonts-dejavu-core [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ]
            need w3m has w3m
            need containernetworking-plugins [ -x /usr/lib/cni/bridge ]
            need busybox-static static_busybox
            need iproute2 has ip
            need util-linux has setpriv
            need mount has mount
            need procps has ps
            ;;
        pause)
            compiler x86_64
            compiler aarch64
            need qemu-user-static has qemu-aarch64-static
            ;;
        node)
            need debootstrap has debootstrap
            need qemu-system-x86 has qemu-system-x86_64
            need qemu-utils has qemu-img
            need e2fsprogs has mkfs.ext4
            need openssh-client has ssh
            need util-linux has setpriv
            ;;
        *)
            echo "unknown purpose: $purpose" >&2
            exit 2
            ;;
    esac
done

[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "missing packages:$missing" >&2
    echo "install them as root:  apt-get update && apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
if ! has apt-get >/dev/null; then
    echo "missing packages, and no apt-get to install them:$missing" >&2
    exit 1
fi

echo "installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
quietly() {
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        echo "failed: $*" >&2
        exit 1
    fi
}
quietly apt-get update
# shellcheck disable=SC2086  # a list of words
quietly apt-get install --yes --no-install-recommends $missing
