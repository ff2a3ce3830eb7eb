"""Usage of containers, in a /proc and cgroups made for the test."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from criwist.interfaces.kernel import CgroupUsage, IUsage
from criwist.kernel.usage import Usage
from tests.kernel.test_net_dev import DEV, IPV6_ROUTE, ROUTE

ID = "0123456789abcdef" * 4
PID = 11
DATA = Path(__file__).parent / "cgroup" / "data"


class Host:
    """A host with cgroup v2 and one container, ``/kubepods/pod1/<id>``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ticks = itertools.count()
        self.write("proc/self/mountinfo", f"25 1 0:22 / {root}/cgroup rw - cgroup2 cgroup2 rw\n")
        self.pod = root / "cgroup/kubepods/pod1"
        shutil.copytree(DATA / "v2-6.6", self.pod / ID)
        shutil.copytree(DATA / "v2-5.10", self.pod, dirs_exist_ok=True)
        self.run()
        self.usage = Usage(f"{root}/proc", monotonic=lambda: float(next(self.ticks)))

    def write(self, path: str, text: str) -> None:
        """Write a file below the root."""
        os.makedirs(os.path.dirname(self.root / path), exist_ok=True)
        (self.root / path).write_text(text)

    def run(self, pid: int = PID, cgroup: str = f"/kubepods/pod1/{ID}", start: int = 5) -> None:
        """Make a process."""
        self.write(f"proc/{pid}/cgroup", f"0::{cgroup}\n")
        self.write(f"proc/{pid}/stat", f"{pid} (pause) S 1 {pid} {pid} " + "0 " * 13 + f"1 0 {start} 0\n")
        self.write(f"proc/{pid}/net/dev", DEV)
        self.write(f"proc/{pid}/net/route", ROUTE)

    def burn(self, microseconds: int) -> None:
        """Set the CPU time of the container."""
        (self.pod / ID / "cpu.stat").write_text(f"usage_usec {microseconds}\n")

    def container(self) -> CgroupUsage:
        """Return the container's usage."""
        usage = self.usage.container(PID, ID)
        assert usage is not None
        return usage


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """The host."""
    return Host(tmp_path)


def test_the_interface(host: Host) -> None:
    """Usage provides IUsage."""
    verifyObject(IUsage, host.usage)


def test_container(host: Host) -> None:
    """The second reading has the rate since the first; each has the time at which it was made."""
    first = host.container()
    assert (first.cpu, first.nano_cores) == (12_849_502_000, None)
    host.burn(12_849_502 + 250_000)
    second = host.container()
    assert second.nano_cores == 250_000_000
    assert second.cpu_timestamp > first.cpu_timestamp


def test_cgroup_is_found_once(host: Host) -> None:
    """The path is kept for the process, and found anew for the process of the next start."""
    host.container()
    (host.root / f"proc/{PID}/cgroup").unlink()
    assert host.container().cpu == 12_849_502_000
    assert host.usage.container(12, ID) is None
    host.run(12)
    again = host.usage.container(12, ID)
    assert again is not None
    assert again.nano_cores is None, "the readings of the earlier start do not count"


def test_forgotten(host: Host) -> None:
    """A forgotten container has no earlier readings."""
    host.container()
    host.usage.forget(ID)
    host.usage.forget(ID)
    assert host.container().nano_cores is None


def test_container_that_is_gone(host: Host) -> None:
    """A container without a process or without a cgroup has no usage."""
    shutil.rmtree(host.root / f"proc/{PID}")
    assert host.usage.container(PID, ID) is None
    host.run()
    host.container()
    shutil.rmtree(host.pod / ID)
    assert host.usage.container(PID, ID) is None


@pytest.mark.parametrize("cgroup", ["/", "/system.slice/ssh.service", f"/kubepods/{'f' * 64}"])
def test_stranger(host: Host, cgroup: str) -> None:
    """A process whose cgroup does not carry the container's id is a stranger's, and is not read."""
    (host.root / "cgroup" / "system.slice" / "ssh.service").mkdir(parents=True)
    host.run(cgroup=cgroup)
    assert host.usage.container(PID, ID) is None
    assert host.usage.network(PID, ID) is None


def test_own_cgroups_below(host: Host) -> None:
    """A container that moved its processes into cgroups of its own below has the whole container's usage."""
    host.run(cgroup=f"/kubepods/pod1/{ID}/init.scope")
    assert host.container().cpu == 12_849_502_000


def test_parent(host: Host) -> None:
    """The cgroup above is read if it is the one that the pod names."""
    for named in ("/kubepods/pod1", "pod1", "kubepods/pod1/"):
        usage = host.usage.parent(PID, ID, named)
        assert usage is not None
        assert usage.cpu == 5_000_000
    for other in ("", "/", "/kubepods", "od1", "/docker"):
        assert host.usage.parent(PID, ID, other) is None
    assert host.usage.parent(99, ID, "/kubepods/pod1") is None


def test_network(host: Host) -> None:
    """The interface of the default route comes first, and the loopback is left out."""
    network = host.usage.network(PID, ID)
    assert network is not None
    assert network.default.name == "net1"
    assert [each.name for each in network.others] == ["eth0"]


def test_network_of_a_later_process(host: Host) -> None:
    """The network of another process that got the pid is not the container's."""
    host.container()
    host.run(start=6)
    assert host.usage.network(PID, ID) is None


def test_network_of_ipv6(host: Host) -> None:
    """Without a default route of IPv4 the interface of IPv6's comes first."""
    host.write(f"proc/{PID}/net/route", ROUTE.splitlines()[0])
    host.write(f"proc/{PID}/net/ipv6_route", IPV6_ROUTE.replace("eth6", "eth0"))
    network = host.usage.network(PID, ID)
    assert network is not None
    assert [network.default.name, *(each.name for each in network.others)] == ["eth0", "net1"]


def test_no_interfaces(host: Host) -> None:
    """A namespace with a loopback alone has no network figures."""
    host.write(f"proc/{PID}/net/dev", "\n".join(DEV.splitlines()[:3]))
    assert host.usage.network(PID, ID) is None
