"""A CNI network for one test, with Debian's plugins or with scripts, and its leftovers on the machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.harness.clock import scaled

PLUGINS = "/usr/lib/cni"
NAME = "crwn"
BRIDGE = "crwn0"
IPV4, IPV6 = "10.96.0.0/16", "fd96::/64"
GATEWAYS = ("10.96.0.1", "fd96::1")

#: Chains and rules that plugins create for one pod, in contrast to those for all pods.
_POD_RULE = re.compile(r"CNI-(DN-)?[0-9a-f]{20,}|-A CNI-FORWARD -[sd]")


class PodNetwork:
    """Directories below *root*, and the bridge that Debian's plugin creates."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf_dir = root / "net.d"
        self.bin_dir = root / "bin"
        self.leases = root / "leases"
        self.cache = root / "cache"
        for directory in (self.conf_dir, self.bin_dir):
            directory.mkdir(parents=True)

    @property
    def options(self) -> dict[str, str]:
        """The options of a criwist that puts its pods on this network."""
        return {
            "network_plugin": "cni",
            "cni_conf_dir": str(self.conf_dir),
            "cni_bin_dir": f"{self.bin_dir},{PLUGINS}",
            "cni_cache_dir": str(self.cache),
        }

    # -- configuration

    def plugins(self, *, ranges: tuple[str, ...] = (IPV4,)) -> list[dict[str, Any]]:
        """Return a bridge with addresses from *ranges*, portmap, a firewall that accepts pods, and bandwidth."""
        ipam = {
            "type": "host-local",
            "dataDir": str(self.leases),
            "ranges": [[{"subnet": subnet}] for subnet in ranges],
            "routes": [{"dst": "::/0" if ":" in subnet else "0.0.0.0/0"} for subnet in ranges],
        }
        return [
            {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": ipam},
            {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
            {"type": "firewall"},
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        ]

    def configure(
        self, plugins: list[dict[str, Any]] | None = None, *, file: str = "10-crwn.conflist", version: str = "1.0.0"
    ) -> None:
        """Write a list of these plugins, atomically as an installer does."""
        document = {"cniVersion": version, "name": NAME, "plugins": self.plugins() if plugins is None else plugins}
        beside = self.root / "new"
        beside.write_text(json.dumps(document))
        place = self.conf_dir / file
        beside.rename(place)
        # containerd 1.6 reads files that are written, not those that are moved into the directory.
        with place.open("a") as again:
            again.write("\n")

    def unconfigure(self) -> None:
        """Empty the configuration directory."""
        for path in self.conf_dir.iterdir():
            path.unlink()

    def script(self, name: str, text: str, *, first: str = "") -> dict[str, Any]:
        """Install a shell script as a plugin; return its entry in a list.

        It has ``$HERE``, the network's directory, and answers VERSION before *text* runs, with its standard input
        in ``$CONFIG``.

        :param first: commands that run before all others.
        """
        path = self.bin_dir / name
        versions = '"0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"'
        path.write_text(
            f"""#!/bin/sh
HERE={self.root}
CONFIG=$(cat)
{first}
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{{"cniVersion":"1.0.0","supportedVersions":[{versions}]}}'
  exit 0
fi
handed_on() {{ python3 -c 'import json, sys; print(json.dumps(json.loads(sys.argv[1])["prevResult"]))' "$CONFIG"; }}
{text}
"""
        )
        path.chmod(0o755)
        return {"type": name}

    # -- leftovers

    def left(self, state: Path | None = None) -> dict[str, list[str]]:
        """Return the resources of pods that still exist, by kind; empty if there are none.

        :param state: root directory of the criwist whose records are included.
        """
        found = {
            "interfaces": interfaces(BRIDGE),
            "leases": self.leased(),
            "rules": rules(),
            "cache": _names(self.cache / "results"),
            "pins": [name for name in _names(Path("/run/netns")) if name.startswith("criwist-")],
        }
        if state is not None:
            found |= {
                "journal": _names(state / "network" / "cni"),
                "records": _names(state / "sandboxes"),
                "resolv.conf": _names(state / "resolv-confs"),
            }
        return {kind: names for kind, names in found.items() if names}

    def leased(self) -> list[str]:
        """Return the addresses that host-local has assigned."""
        directory = self.leases / NAME
        return [name for name in _names(directory) if name != "lock" and not name.startswith("last_reserved")]

    def destroy(self) -> None:
        """Remove the bridge."""
        subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


def interfaces(bridge: str) -> list[str]:
    """Return the interfaces on the bridge, and those that the bandwidth plugin created."""
    answer = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True, timeout=scaled(10)).stdout
    links = json.loads(answer)
    return [link["ifname"] for link in links if link.get("master") == bridge or link["ifname"].startswith("bwp")]


def rules() -> list[str]:
    """Return the packet filter chains and rules of single pods, of both families."""
    found = []
    for program in ("iptables-save", "ip6tables-save"):
        text = subprocess.run([program], check=True, capture_output=True, text=True, timeout=scaled(20)).stdout
        found += [line for line in text.splitlines() if _POD_RULE.search(line)]
    return found


def queueing(interface: str) -> str:
    """Return the output of ``tc qdisc show`` for an interface."""
    command = ["tc", "qdisc", "show", "dev", interface]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=scaled(10)).stdout


def strays(marker: str) -> list[int]:
    """Return the pids of processes that have *marker* in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except FileNotFoundError:
        return []
