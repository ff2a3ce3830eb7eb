"""The users and groups of containers, and the policy of supplemental groups.

``images.USER_NAME`` runs as alice: uid 1003, gid 100, and in ``/etc/group`` a member of ``extra``, gid 2000.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.inside import process_status, secured


def ids(cri: CRI, container_id: str) -> tuple[int, int, set[int]]:
    """Return uid, gid and supplemental groups of the first process; the groups may have the gid or not."""
    status = process_status(cri, container_id)
    gid = int(status["Gid"].split()[0])
    return int(status["Uid"].split()[0]), gid, {int(group) for group in status["Groups"].split()} - {gid}


@pytest.mark.second_opinion
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"run_as_user": 0}, (0, 0, set())),
        ({"run_as_user": 1003}, (1003, 100, {2000})),
        ({"run_as_user": 4242}, (4242, 0, set())),
        ({"run_as_username": "bob"}, (1004, 1004, set())),
        ({"run_as_username": "alice", "supplemental_groups": [7]}, (1003, 100, {7, 2000})),
        ({"run_as_user": 1003, "run_as_group": 55}, (1003, 55, {2000})),
        ({"run_as_username": "alice", "run_as_group": 55}, (1003, 55, {2000})),
        ({"run_as_user": 4242, "run_as_group": 55, "supplemental_groups": [7]}, (4242, 55, {7})),
    ],
)
def test_merge(cri: CRI, fields: dict[str, Any], expected: tuple[int, int, set[int]]) -> None:
    """By default a process has the configured groups and those of its user in the image's /etc/group."""
    assert ids(cri, secured(cri, image=images.USER_NAME, **fields)) == expected


@pytest.mark.parametrize(("fields", "groups"), [({}, {2000}), ({"supplemental_groups": [7, 8]}, {7, 8, 2000})])
def test_merge_for_the_images_user(cri: CRI, fields: dict[str, Any], groups: set[int]) -> None:
    """The image's own user keeps its groups too; containerd 1.6 omits them unless a user is configured."""
    assert ids(cri, secured(cri, image=images.USER_NAME, **fields)) == (1003, 100, groups)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (1003, 100, set())),
        ({"run_as_user": 1003}, (1003, 100, set())),
        ({"run_as_username": "alice", "supplemental_groups": [7]}, (1003, 100, {7})),
        ({"run_as_user": 1003, "run_as_group": 55}, (1003, 55, set())),
        ({"run_as_user": 4242, "supplemental_groups": [7]}, (4242, 0, {7})),
    ],
)
def test_strict(cri: CRI, fields: dict[str, Any], expected: tuple[int, int, set[int]]) -> None:
    """With the policy Strict a process has only the configured groups; containerd 1.6 does not have the policy."""
    container_id = secured(cri, image=images.USER_NAME, supplemental_groups_policy=api.Strict, **fields)
    assert ids(cri, container_id) == expected
    user = cri.status(container_id).user.linux
    assert (user.uid, user.gid, set(user.supplemental_groups) - {user.gid}) == expected


def test_user_of_a_container_that_has_ended(cri: CRI) -> None:
    """ContainerStatus reports the user and the groups of an exited container too."""
    container_id = secured(cri, run_as_user=1004, run_as_group=55, supplemental_groups=[7])
    running = cri.status(container_id).user.linux
    assert (running.uid, running.gid, set(running.supplemental_groups) - {55}) == (1004, 55, {7})
    cri.stop(container_id)
    ended = cri.status(container_id)
    assert (ended.state, ended.user.linux) == (api.CONTAINER_EXITED, running)


def test_strict_is_announced(cri: CRI) -> None:
    """Status reports the feature of the policy."""
    assert cri.runtime.Status(api.StatusRequest()).features.supplemental_groups_policy


@pytest.mark.second_opinion
def test_group_without_user(cri: CRI) -> None:
    """A group without a user is refused, as the CRI demands."""
    assert "user" in refused(lambda: secured(cri, run_as_group=55))


def test_group_without_user_in_a_sandbox(cri: CRI) -> None:
    """A sandbox with a group and without a user is refused with the field's name; containerd accepts it."""
    pod = cri.pod()
    pod.linux.security_context.run_as_group.value = 55
    text = refused(lambda: cri.run_pod(pod), grpc.StatusCode.INVALID_ARGUMENT)
    assert "config.linux.security_context.run_as_group" in text


@pytest.mark.second_opinion
def test_unknown_user_name(cri: CRI) -> None:
    """A user name that the image does not have is an error ("the runtime MUST error", CRI)."""
    assert "user" in refused(lambda: secured(cri, run_as_username="nobody-knows"))


def test_user_twice(cri: CRI) -> None:
    """A configuration with both user and user name is refused (CRI); containerd takes the number."""
    text = refused(lambda: secured(cri, run_as_user=1, run_as_username="bob"), grpc.StatusCode.INVALID_ARGUMENT)
    assert "run_as_username" in text


@pytest.mark.second_opinion
def test_exec_runs_as_the_containers_user(cri: CRI) -> None:
    """An exec has the container's user and groups."""
    container_id = secured(cri, run_as_user=1234, run_as_group=2345, supplemental_groups=[7])
    assert cri.shell(container_id, "id -u; id -g") == "1234\n2345\n"
    assert "7" in cri.output(container_id, "id", "-G").split()
