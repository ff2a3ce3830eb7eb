"""Debian's containerd with its CRI plugin: the second opinion on what the CRI means.

It has directories, socket, CNI configuration and bridge of its own.  Its images are those of ``harness.images``,
imported from the same archives.  :func:`newest` is the newest that Debian has, which came with the newest
engine of ``harness.newer_engines``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from criwist.pause.image import PAUSE_REFERENCE, pause_archive
from tests.harness import images
from tests.harness.clock import scaled
from tests.harness.leftovers import unmount_below
from tests.harness.programs import Program
from tools.engines import fetched, programs

CNI_PLUGINS = "/usr/lib/cni"
_PAUSE = PAUSE_REFERENCE
_CAP_SYS_RESOURCE = 24


#: The bundle of programs with the newest containerd: 2.1.
NEWEST_BUNDLE = "docker-28"


class Containerd:
    """A containerd and what it keeps under *root*.  *number* tells apart those of one session.

    :param programs: where containerd lies, if it is not the machine's own.
    """

    def __init__(
        self, root: Path, *, number: int = 0, systemd_cgroups: bool = False, programs: Path | None = None
    ) -> None:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.root = root
        self.socket = root / "containerd.sock"
        self.bridge = f"crwtc{number}"
        self.cni_conf_dir = root / "cni"
        self.cni_conf_dir.mkdir(exist_ok=True)
        (self.cni_conf_dir / "10-bridge.conflist").write_text(
            json.dumps(_bridge_network(root, self.bridge, f"10.97.{number}.0/24"))
        )
        configuration = root / "config.toml"
        configuration.write_text(_configuration(self, systemd_cgroups=systemd_cgroups))
        # The machine's shim and ctr would do for another containerd too, but the shim is to be the one it came with.
        environment = None if programs is None else {"PATH": f"{programs}:{os.environ['PATH']}"}
        command = [str(programs / "containerd") if programs else "containerd", "--config", str(configuration)]
        self.program = Program("containerd", command, root / "log", environment=environment)

    @property
    def endpoint(self) -> str:
        """Where it serves the CRI."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, wait until it answers, and import the images."""
        self.program.start(self._answers)
        self.load(pause_archive(images.architecture()))
        for reference in images.REFERENCES:
            self.load(images.image(reference).archive(reference))

    def load(self, archive: bytes) -> None:
        """Import a docker-archive where the CRI sees it."""
        path = self.root / "import.tar"
        path.write_bytes(archive)
        self.ctr("images", "import", str(path))
        path.unlink()

    def ctr(self, *arguments: str) -> str:
        """Run ctr in the CRI's namespace; RuntimeError with its words if it fails."""
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=scaled(60))
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {run.stderr.strip()}")
        return run.stdout

    def stop(self) -> None:
        """End it; its containers stay."""
        self.program.stop()

    def destroy(self) -> None:
        """End it and remove all that it kept.  Its pods are to be removed before."""
        self.stop()
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)
        unmount_below(self.root)
        shutil.rmtree(self.root, ignore_errors=True)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        command = ["ctr", "--address", str(self.socket), "plugins", "list"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=scaled(10))
        return any(line.split()[1:2] == ["cri"] and line.split()[-1] == "ok" for line in run.stdout.splitlines())


def newest(root: Path, *, systemd_cgroups: bool = False) -> Containerd:
    """The newest containerd, not started, beside the machine's own; RuntimeError if it has not been fetched."""
    if not fetched(NEWEST_BUNDLE):
        raise RuntimeError(f"{NEWEST_BUNDLE} has not been fetched: make engines")
    return Containerd(root, number=1, systemd_cgroups=systemd_cgroups, programs=programs(NEWEST_BUNDLE))


def _configuration(containerd: Containerd, *, systemd_cgroups: bool) -> str:
    root = containerd.root
    return f"""\
version = 2
root = "{root}/root"
state = "{root}/state"

[grpc]
address = "{containerd.socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{_PAUSE}"
restrict_oom_score_adj = {_toml(not _may_lower_oom_scores())}
netns_mounts_under_state_dir = true
disable_tcp_service = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{containerd.cni_conf_dir}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = {_toml(systemd_cgroups)}
"""


def _toml(value: bool) -> str:
    return "true" if value else "false"


def _bridge_network(root: Path, bridge: str, subnet: str) -> object:
    return {
        "cniVersion": "0.4.0",
        "name": "criwist-second-opinion",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": True,
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": f"{root}/leases",
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
            # An engine in the same namespace drops what is forwarded and not allowed.
            {"type": "firewall"},
        ],
    }


def _may_lower_oom_scores() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, which a lower oom_score_adj takes."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
