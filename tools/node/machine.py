"""The machine of the node: QEMU, with a throw-away disk layer above the image, and no network but ssh from the host.

QEMU ends at its time limit, and with the process that started it, so no machine outlives a run that hangs.  Only one
machine runs at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from tools.node.guest import Guest
from tools.node.image import Image
from tools.node.places import CACHE, RUN, Trouble

#: Seconds from power on to sshd; emulation needs about 40 on an idle machine.
BOOT_LIMIT = 420.0
_POWER_OFF_LIMIT = 120.0
_CONSOLE_TAIL = 40

#: Emulation runs an older processor: QEMU emulates some newer instructions in a way that crashes the kernel.
_ACCELERATIONS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "Nehalem"),
}
_KVM_PROBE = 15.0

#: An emulated processor needs no mitigations: separate page tables of the kernel would make emulation flush its
#: translations with each system call.  And a busy host looks like a lockup to the watchdog.
_QUICK = "mitigations=off init_on_alloc=0 nowatchdog"

#: Kernel options for cgroups of version 1, as far as the kernel and systemd still have them.
CGROUP_V1 = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"


@define(eq=False)
class Machine:
    """One QEMU.

    :param limit: seconds after which it ends.
    """

    image: Image
    kernel_options: str
    limit: float
    _qemu: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    @property
    def console(self) -> Path:
        """The file with the output of the serial console."""
        return RUN / "console.log"

    def console_tail(self) -> str:
        """Return the last lines of the console's output."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.console.read_text(errors="replace").splitlines()[-_CONSOLE_TAIL:])
        return ""

    def start(self) -> Guest:
        """Power on, and wait until sshd accepts a login.

        :raises Trouble: it does not in time; the text has the end of the console.
        """
        layer = RUN / "layer.qcow2"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self.image.disk), str(layer)]
        subprocess.run(create, check=True)
        self._port = _free_port()
        acceleration = _ACCELERATIONS[_acceleration(self.image)]
        command = [*_qemu_for(self.limit), *acceleration, *self._devices(layer), *self._boot()]
        with (RUN / "qemu.log").open("wb") as log:
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        guest = Guest(RUN, self._port, self.image.key)
        self.wait_for(guest)
        return guest

    def _devices(self, layer: Path) -> list[str]:
        words = ["-m", "3072", "-smp", str(min(2, os.cpu_count() or 1)), "-display", "none"]
        words += ["-serial", f"file:{self.console}", "-device", "virtio-rng-pci"]
        # The layer is not needed after a crash of this machine.
        words += ["-drive", f"file={layer},if=virtio,format=qcow2,cache=unsafe,discard=unmap"]
        words += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"]
        return [*words, "-device", "virtio-net-pci,netdev=net"]

    def _boot(self) -> list[str]:
        options = f"root=/dev/vda rw console=ttyS0 panic=10 {_QUICK} {self.kernel_options}".strip()
        return ["-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", options]

    def wait_for(self, guest: Guest) -> None:
        """Wait until the node accepts a login."""
        deadline = time.monotonic() + BOOT_LIMIT
        while not self._greets() or not guest.answers():
            if self._qemu is None or self._qemu.poll() is not None:
                raise Trouble(f"QEMU ended\n{(RUN / 'qemu.log').read_text()}\n{self.console_tail()}")
            if time.monotonic() > deadline:
                raise Trouble(
                    f"the node did not boot within {BOOT_LIMIT:g} s; its console ends:\n{self.console_tail()}"
                )
            time.sleep(1)

    def _greets(self) -> bool:
        """Return whether sshd sends its greeting; QEMU accepts connections long before."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connected:
                connected.settimeout(20)
                return connected.recv(4) == b"SSH-"
        except OSError:
            return False

    def power_off(self, guest: Guest | None) -> None:
        """Shut down in order if that works in time, else kill QEMU.  Idempotent."""
        if self._qemu is None:
            return
        if guest is not None and self._qemu.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                guest.run("systemctl poweroff", within=60, check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                guest.disconnect()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._qemu.wait(_POWER_OFF_LIMIT)
        if self._qemu.poll() is None:
            self._qemu.terminate()
            try:
                self._qemu.wait(20)
            except subprocess.TimeoutExpired:
                self._qemu.kill()
                self._qemu.wait()
        (RUN / "layer.qcow2").unlink(missing_ok=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold the lock for building images and running a machine, with an empty run directory.

    :raises Trouble: another process holds it.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(f"another node runs: {CACHE / 'lock'} is held") from None
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir(mode=0o700)
        yield


def _qemu_for(seconds: float) -> list[str]:
    """Return a QEMU command that ends with this process, or at the time limit."""
    killed_with_parent = ["setpriv", "--pdeathsig", "KILL"]
    # `timeout` forwards SIGTERM, and QEMU ends at once on it.
    limit = ["timeout", "--kill-after=10", f"{seconds:.0f}"]
    return ["setpriv", "--pdeathsig", "TERM", *limit, *killed_with_parent, "qemu-system-x86_64", "-nodefaults"]


def _acceleration(image: Image) -> str:
    """Return ``CRIWIST_NODE_ACCEL`` if set, else KVM if a kernel boots with it, else emulation."""
    asked = os.environ.get("CRIWIST_NODE_ACCEL", "")
    if asked:
        if asked not in _ACCELERATIONS:
            raise Trouble(f"CRIWIST_NODE_ACCEL={asked}: expected one of {', '.join(_ACCELERATIONS)}")
        return asked
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    console = RUN / "kvm-probe.log"
    command = [*_qemu_for(_KVM_PROBE), *_ACCELERATIONS["kvm"], "-m", "512", "-display", "none", "-no-reboot"]
    command += ["-serial", f"file:{console}", "-kernel", str(image.kernel), "-append", "console=ttyS0 panic=-1"]
    # Without a disk the kernel soon gives up; that it reached this point is the proof.
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    reached = console.exists() and b"Unable to mount root fs" in console.read_bytes()
    return "kvm" if reached else "tcg"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
