"""What the node's image is made of: packages, files, units.  Where this file changes, the image is made anew."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

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
SIZE = "12G"

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


def configure(root: Path, key: Path) -> None:
    """Make a node of the packages below *root*: files, units, and a new *key* for who runs it."""
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "node", "-f", key], check=True)
    authorized = root / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_name("key.pub"), authorized)
    systemctl = ["systemctl", f"--root={root}"]
    if shutil.which("systemctl") is None:
        systemctl = ["chroot", str(root), "systemctl"]
    subprocess.run([*systemctl, "-q", "enable", "systemd-networkd.service", "ssh.service"], check=True)
    subprocess.run([*systemctl, "-q", "mask", *_MASKED], check=True)
    (root / "etc/machine-id").write_text("")
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file() and profile.name not in _PROFILES:
            profile.unlink()
    for directory in ("etc", "var"):
        # The first boot has nothing to bring up to date, such as the linker's cache.
        (root / directory / ".updated").touch()
    # Downloaded packages are kept outside.
    for archive in (root / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
