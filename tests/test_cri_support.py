"""The table of fields in docs/cri-support.md is whole, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as pb

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "cri-support.md").read_text(encoding="utf-8")

MESSAGES = (
    "PodSandboxConfig", "PodSandboxMetadata", "DNSConfig", "PortMapping", "LinuxPodSandboxConfig",
    "LinuxSandboxSecurityContext", "NamespaceOption", "UserNamespace", "SELinuxOption", "SecurityProfile",
    "ContainerConfig", "ContainerMetadata", "ImageSpec", "KeyValue", "Mount", "IDMapping", "Device", "CDIDevice",
    "LinuxContainerConfig", "LinuxContainerResources", "HugepageLimit", "LinuxContainerSecurityContext", "Capability",
    "UpdateContainerResourcesRequest",
)  # fmt: skip


def rows(message: str) -> list[str]:
    """The fields that the table of *message* has a row for, in order."""
    section = re.search(rf"^## {message}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE) if section else []


@pytest.mark.parametrize("message", MESSAGES)
def test_every_field_has_a_row(message: str) -> None:
    """The table of a message has one row for each of its fields, and no others."""
    assert sorted(rows(message)) == sorted(field.name for field in getattr(pb, message).DESCRIPTOR.fields)


def test_every_test_exists() -> None:
    """A test that the table names can be found in the file that it names."""
    named = set(re.findall(r"(test_\w+)::(test_\w+)", TEXT))
    assert named
    files = [(path.stem, path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*.py")]
    exist = {(stem, test) for stem, text in files for test in re.findall(r"def (test_\w+)\(", text)}
    assert named <= exist, named - exist
