"""The disk image of the node: Debian 13 from Debian's packages alone, made once for each recipe.

debootstrap puts the packages into a directory, a few files make a node of it, and ``mkfs.ext4 -d`` makes the image of
that, with nothing mounted.  Kernel and initial RAM disk are copied out, for QEMU boots them itself.  The image is
never written to again: every machine runs on a throw-away layer above it.

The packages come from where this machine's apt gets Debian's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from tools.node.places import CACHE, ROOT, Trouble

RELEASE = "trixie"

#: What a node has, what its tests need, and nothing for comfort.
PACKAGES = (
    # a machine that boots
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "linux-image-cloud-amd64"),
    *("initramfs-tools", "zstd", "openssh-server", "ca-certificates"),
    # the engine as Debian has it, with what confines its containers
    *("docker.io", "docker-cli", "containerd", "runc", "apparmor", "iptables", "containernetworking-plugins"),
    # criwist; an emulated pip is at least to be one that was compiled before
    *("python3", "python3-venv", "python3-pip"),
    # the tests
    *("docker-registry", "busybox-static", "iproute2", "procps", "util-linux", "mount"),
)

#: Sparse: what is not written takes no room.
_SIZE = "12G"

#: QEMU's user network, without asking its DHCP server.
_NETWORK = """\
[Match]
Type=ether
Name=e*

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
"""

#: The log is read over ssh after a reboot too, and what a crash leaves behind must be on disk.
_JOURNAL = """\
[Journal]
Storage=persistent
SyncIntervalSec=5s
"""

#: An emulated machine beside others that work is slow beyond what systemd takes for alive.
_PATIENCE = """\
[Manager]
DefaultTimeoutStartSec=900s
DefaultTimeoutStopSec=300s
DefaultDeviceTimeoutSec=600s
"""

#: Docker chooses systemd's driver by itself where cgroups are of version 2; said here because of version 1.
_ENGINE = """\
{"exec-opts": ["native.cgroupdriver=systemd"]}
"""

_FILES = {
    "etc/docker/daemon.json": _ENGINE,
    "etc/systemd/system.conf.d/emulation.conf": _PATIENCE,
    "etc/hostname": "node\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 node\n::1 localhost\n",
    "etc/fstab": "",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/network/80-qemu.network": _NETWORK,
    "etc/systemd/journald.conf.d/node.conf": _JOURNAL,
    "etc/ssh/sshd_config.d/node.conf": "PermitRootLogin prohibit-password\nUseDNS no\nMaxSessions 100\n",
}

#: AppArmor profiles that are loaded, of the hundred that Debian has for programs that are not here.
_PROFILES = ("busybox", "crun", "runc", "unix-chkpwd", "unprivileged_userns")

#: Units that a node with neither network nor keyboard only waits for.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("getty@tty1.service", "serial-getty@ttyS0.service", "e2scrub_reap.service", "systemd-pstore.service"),
    *("modprobe@drm.service", "modprobe@efi_pstore.service"),
)

_BUILD_LIMIT = 3600.0


@frozen
class Image:
    """A built image: a disk, and what boots from it."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The ext4 file system, raw."""
        return self.directory / "disk.img"

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initial RAM disk."""
        return self.directory / "initrd.img"

    @property
    def key(self) -> Path:
        """The ssh key that opens the node."""
        return self.directory / "key"


def image() -> Image:
    """The image of today's recipe, built if there is none.

    :raises Trouble: it cannot be built here.
    """
    found = Image(CACHE / f"image-{recipe()}")
    if not found.disk.exists():
        _build(found)
    return found


def recipe() -> str:
    """A name for what the image is made of; it changes with this file."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def _build(wanted: Image) -> None:
    if os.geteuid() != 0:
        raise Trouble("debootstrap needs root")
    subprocess.run([ROOT / "scripts" / "packages.sh", "node"], check=True)
    for old in CACHE.glob("image-*"):
        shutil.rmtree(old)
    work = CACHE / "building"
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    root.mkdir(parents=True)
    _debootstrap(root)
    result = Image(work)
    _configure(root, result)
    for name, target in (("vmlinuz", result.kernel), ("initrd.img", result.initrd)):
        newest = max((root / "boot").glob(f"{name}-*"))
        shutil.copy(newest, target)
    subprocess.run(["truncate", "--size", _SIZE, result.disk], check=True)
    command = ["mkfs.ext4", "-q", "-L", "node", "-m", "0", "-d", str(root), str(result.disk)]
    subprocess.run(command, check=True, timeout=_BUILD_LIMIT)
    shutil.rmtree(root)
    work.rename(wanted.directory)


def mirror() -> str:
    """Where this machine's apt gets Debian from, which is nobody else's business.

    :raises Trouble: it gets it from nowhere.
    """
    template = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", template, "Created-By: Packages"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        origin, label, uri = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian"):
            return uri
    raise Trouble("apt has no lists of Debian's packages here: apt-get update")


def _debootstrap(root: Path) -> None:
    packages = CACHE / "packages"
    packages.mkdir(exist_ok=True)
    log = CACHE / "debootstrap.log"
    command: Sequence[str | Path] = [
        *("debootstrap", "--variant=minbase", f"--cache-dir={packages}", f"--include={','.join(PACKAGES)}"),
        *(RELEASE, root, mirror()),
    ]
    with log.open("wb") as output:
        run = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=_BUILD_LIMIT)
    if run.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise Trouble(f"debootstrap ended with {run.returncode}, see {log}:\n{tail}")


def _configure(root: Path, result: Image) -> None:
    """Make a node of the packages: files, units, and the key for who runs it."""
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "node", "-f", result.key], check=True)
    authorized = root / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(result.key.with_name("key.pub"), authorized)
    systemctl = ["systemctl", f"--root={root}"]
    if shutil.which("systemctl") is None:
        systemctl = ["chroot", str(root), "systemctl"]
    subprocess.run([*systemctl, "-q", "enable", "systemd-networkd.service", "ssh.service"], check=True)
    subprocess.run([*systemctl, "-q", "mask", *_MASKED], check=True)
    (root / "etc/machine-id").write_text("")
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file() and profile.name not in _PROFILES:
            profile.unlink()
    # Downloaded packages are kept outside.
    for archive in (root / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
