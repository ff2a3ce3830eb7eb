"""What engines of older API versions lack: the table, the documentation and the behaviour agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from criwist import engine_differences
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.engine_differences import DIFFERENCES, Difference, version_text
from criwist.errors import FailedPrecondition
from criwist.interfaces.engine import EngineFacts
from criwist.translate.annotations import oci_annotations
from criwist.translate.devices import devices_body
from criwist.translate.mounts import host_directories, mounts_body
from tests.translate.outcomes import NEWEST

DOCS = Path(__file__).resolve().parents[1] / "docs" / "cri-support.md"

BIND = pb.Mount(host_path="/host", container_path="/in", readonly=True)
IMAGE = pb.Mount(image=pb.ImageSpec(image="model:1"), container_path="/in", readonly=True)


def mount_body(mount: pb.Mount, engine: EngineFacts) -> dict[str, Any]:
    """The body of a container's only mount; if it is an image, the caller has mounted it."""
    body = mounts_body([mount], "mounts", runtime="", engine=engine, image_mounts={0: "/mounted" * 8})
    mounts: list[dict[str, Any]] = body["Mounts"]
    return mounts[0]


def recursion(engine: EngineFacts) -> object:
    """Whether the body of a read-only bind mount forbids recursion."""
    return mount_body(BIND, engine).get("BindOptions", {}).get("ReadOnlyNonRecursive")


def devices(engine: EngineFacts) -> object:
    """The driver of a CDI device; None: it is refused."""
    config = pb.ContainerConfig(CDI_devices=[pb.CDIDevice(name="vendor.com/class=name")])
    try:
        return devices_body(config, "config", engine=engine)["DeviceRequests"][0]["Driver"]
    except FailedPrecondition:
        return None


#: A difference, the API version that brought it, a behaviour, its outcome below that version and from it on.
ROWS: tuple[tuple[str, tuple[int, int], Callable[[EngineFacts], object], object, object], ...] = (
    (
        "CREATE_MOUNTPOINT",
        (1, 42),
        lambda engine: host_directories(pb.ContainerConfig(mounts=[BIND]), engine=engine),
        ("/host",),
        (),
    ),
    (
        "OCI_ANNOTATIONS",
        (1, 43),
        lambda engine: oci_annotations({"a": "b"}, engine=engine),
        {},
        {"Annotations": {"a": "b"}},
    ),
    ("CDI_DEVICES", (1, 44), devices, None, "cdi"),
    ("READ_ONLY_RECURSION", (1, 44), recursion, None, True),
    ("IMAGE_MOUNTS", (1, 48), lambda engine: mount_body(IMAGE, engine)["Type"], "bind", "image"),
)


@pytest.mark.parametrize(("name", "since", "behaviour", "below", "from_then_on"), ROWS, ids=[row[0] for row in ROWS])
def test_behaviour_changes_at_the_version(
    name: str,
    since: tuple[int, int],
    behaviour: Callable[[EngineFacts], object],
    below: object,
    from_then_on: object,
) -> None:
    """With the version before, criwist does without; from the version on, it uses what the engine has."""
    difference: Difference = getattr(engine_differences, name)
    major, minor = since
    older, newer = (evolve(NEWEST, api_version=(major, number)) for number in (minor - 1, minor))
    assert difference.since == since
    assert not difference.supported_by(older)
    assert difference.supported_by(newer)
    assert behaviour(older) == below
    assert behaviour(newer) == from_then_on


def test_every_difference_has_a_row() -> None:
    """A difference without a behaviour here is not tested."""
    assert [getattr(engine_differences, name) for name, *_ in ROWS] == list(DIFFERENCES)


def test_the_documentation_has_the_same_table() -> None:
    """The table "Engine versions" has one row for each difference, with the same words."""
    section = re.search(r"^## Engine versions\n(.*?)(?=^## |\Z)", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    assert section
    rows = re.findall(r"^\| (\d.*?) \| (.*?) \| (.*?) \| (.*?) \|$", section[1], re.M)
    assert rows == [
        (version_text(difference.since), difference.release, difference.ability, difference.below)
        for difference in DIFFERENCES
    ]


def test_versions_are_compared_in_one_place() -> None:
    """No other module compares API versions."""
    package = Path(engine_differences.__file__).parent
    comparison = r"(?:[<>]=?|[=!]=)"
    compared = re.compile(rf"\bapi_version\s*{comparison}|{comparison}\s*[\w.]*\bapi_version\b")
    found = [path.name for path in package.rglob("*.py") if compared.search(path.read_text("utf-8"))]
    assert found == ["engine_differences.py"]
