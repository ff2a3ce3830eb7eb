"""docs/cri-support.md lists every RPC and every field, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.rpc import serving
from criwist.rpc.images import ImageService
from criwist.rpc.runtime import RuntimeService

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "cri-support.md").read_text(encoding="utf-8")

MESSAGES = (
    "PodSandboxConfig", "PodSandboxMetadata", "DNSConfig", "PortMapping", "LinuxPodSandboxConfig",
    "LinuxSandboxSecurityContext", "NamespaceOption", "UserNamespace", "SELinuxOption", "SecurityProfile",
    "ContainerConfig", "ContainerMetadata", "ImageSpec", "KeyValue", "Mount", "IDMapping", "Device", "CDIDevice",
    "LinuxContainerConfig", "LinuxContainerResources", "HugepageLimit", "LinuxContainerSecurityContext", "Capability",
    "UpdateContainerResourcesRequest",
)  # fmt: skip


SERVICERS = {"RuntimeService": RuntimeService, "ImageService": ImageService}
#: The document's word for each way to be served: the mark's kind, and whether the caller can cancel it.
WORDS = {
    ("immediate", False): "at once",
    ("from_snapshot", False): "snapshot",
    ("from_kernel", False): "kernel",
    ("node_state", False): "node state",
    ("streamed", False): "in chunks",
    ("subscription", False): "subscription",
    ("on_reactor", False): "reactor",
    ("on_reactor", True): "reactor, cancellable",
}


def section(heading: str) -> str:
    """Return the text below a heading of the third level; empty if there is none."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def rows(message: str) -> list[str]:
    """Return the fields in the table of *message*, in order."""
    return re.findall(r"^\| `(\w+)` \|", section(message), re.MULTILINE)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_field_has_a_row(message: str) -> None:
    """The table of a message has one row for each of its fields, and no other rows."""
    assert sorted(rows(message)) == sorted(field.name for field in getattr(pb, message).DESCRIPTOR.fields)


def served(service: str, rpc: str) -> str:
    """Return the document's word for the mark of an RPC's method."""
    mark = getattr(getattr(SERVICERS[service], rpc, None), serving._MARK, None)
    return "not served" if mark is None else WORDS[mark.kind, mark.cancellable]


@pytest.mark.parametrize("service", SERVICERS)
def test_every_rpc_has_a_row(service: str) -> None:
    """The table of a service has one row for each RPC, in the descriptor's order, with the way the code serves it."""
    methods = pb.DESCRIPTOR.services_by_name[service].methods
    expected = [(method.name, served(service, method.name)) for method in methods]
    assert re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section(service), re.MULTILINE) == expected


def test_every_service_has_a_table() -> None:
    """Every service of the CRI is documented."""
    assert set(SERVICERS) == set(pb.DESCRIPTOR.services_by_name)


def test_every_way_to_be_served_is_explained() -> None:
    """The legend explains each word that the tables of RPCs use, and no other."""
    legend = re.findall(r"^\| ([a-z, ]+?) \| ", TEXT.partition("### RuntimeService")[0], re.MULTILINE)
    assert sorted(legend) == sorted(["word", "not served", *WORDS.values()])


def test_every_test_exists() -> None:
    """Every test that a table names is in the file that the table names."""
    named = set(re.findall(r"(test_\w+)::(test_\w+)", TEXT))
    assert named
    files = [(path.stem, path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*.py")]
    exist = {(stem, test) for stem, text in files for test in re.findall(r"def (test_\w+)\(", text)}
    assert named <= exist, named - exist
