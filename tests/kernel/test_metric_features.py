"""What a kernel offers, from cgroups made for the test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from criwist.kernel.metric_features import FEATURES, read_features
from criwist.translate.pod_metrics import DESCRIPTORS, WRITABLE_LAYERS
from tests.kernel.cgroup.test_usage import DATA

PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


class Host:
    """A host with a /proc and cgroups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/pressure").mkdir()

    def mount_v2(self, controllers: str, example: str = "v2-6.6", below: str = "") -> Path:
        """Mount version 2, with one cgroup that has the files of *example*."""
        top = self.root / "cgroup"
        shutil.copytree(DATA / example, top / "system.slice")
        (top / "cgroup.controllers").write_text(controllers)
        (top / "system.slice" / "cgroup.controllers").write_text(below or controllers)
        self._mount(f"25 1 0:22 / {top} rw - cgroup2 cgroup2 rw\n")
        return top / "system.slice"

    def mount_v1(self, example: str) -> None:
        """Mount the hierarchies of *example*, each with its files in the root."""
        for number, directory in enumerate(sorted((DATA / example).iterdir())):
            top = self.root / "cgroup" / directory.name
            shutil.copytree(directory, top)
            kind = "cgroup2 cgroup2 rw" if directory.name == "unified" else f"cgroup cgroup rw,{directory.name}"
            self._mount(f"{30 + number} 1 0:{30 + number} / {top} rw - {kind}\n")

    def press(self, **texts: str) -> None:
        """Write the machine's pressure files."""
        for name, text in texts.items():
            (self.root / "proc/pressure" / name).write_text(text)

    def features(self) -> frozenset[str]:
        """Return the features."""
        return read_features(str(self.root / "proc"))

    def _mount(self, line: str) -> None:
        with open(self.root / "proc/self/mountinfo", "a", encoding="ascii") as file:
            file.write(line)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without cgroups."""
    return Host(tmp_path)


def test_every_descriptor_names_a_feature() -> None:
    """The features that descriptors need are those that a kernel can offer."""
    assert {each.needs for each in DESCRIPTORS} - {"", WRITABLE_LAYERS} == FEATURES


def test_nothing(host: Host) -> None:
    """A machine without cgroups offers nothing."""
    assert host.features() == frozenset()


def test_v2(host: Host) -> None:
    """Version 2 offers everything but the peak of huge pages, if it has all controllers and files."""
    cgroup = host.mount_v2("cpu io memory pids hugetlb")
    (cgroup / "memory.current").touch()
    host.press(cpu=PRESSURE + PRESSURE.replace("some", "full"), memory=PRESSURE, io=PRESSURE)
    assert host.features() == FEATURES - {"hugetlb.peak"}


def test_v2_without_controllers(host: Host) -> None:
    """A controller that the machine lacks takes its features along; so does a kernel without pressure."""
    host.mount_v2("cpu memory")
    assert host.features() == {
        *("cpu", "cpu.modes", "cpu.quota", "cpu.shares", "oom", "swap"),
        *(f for f in FEATURES if f.startswith("memory")),
    }


def test_v2_file_that_an_older_kernel_lacks(host: Host) -> None:
    """A file that a cgroup with its controller lacks is not offered; pressure of the CPU may have no ``full``."""
    host.mount_v2("memory", "v2-5.10")
    host.press(cpu=PRESSURE, memory=PRESSURE)
    assert "memory.peak" not in host.features()
    assert {f for f in host.features() if f.startswith("pressure")} == {"pressure.cpu"}


def test_v2_controller_that_is_off_below(host: Host) -> None:
    """What no cgroup has so far is offered, if the machine has the controller: the engine switches it on."""
    cgroup = host.mount_v2("memory io", below="io")
    for file in cgroup.glob("memory.*"):
        file.unlink()
    assert {"memory.peak", "oom", "io"} <= host.features()


def test_v1(host: Host) -> None:
    """Version 1 offers what its hierarchies have files for; swap and pressure are missing here."""
    host.mount_v1("v1-4.19")
    assert FEATURES - host.features() == {"swap", *(f for f in FEATURES if f.startswith("pressure"))}


def test_v1_that_does_not_account_for_devices(host: Host) -> None:
    """A newer kernel without a limit on a device has files without figures, which is no feature."""
    host.mount_v1("v1-4.19")
    for file in (host.root / "cgroup/blkio").iterdir():
        file.write_text("Total 0\n")
    assert "io" not in host.features()


def test_hybrid(host: Host) -> None:
    """On a hybrid host pressure is that of the v2 hierarchy."""
    host.mount_v1("hybrid-6.18")
    host.press(cpu=PRESSURE, memory=PRESSURE, io=PRESSURE)
    assert {"pressure.cpu", "pressure.memory", "pressure.io", "swap", "io"} <= host.features()
    assert "memory.peak" not in host.features()
