"""Fixtures of the tests that stop, kill and reboot a whole node: they run outside of it.

``make node-test`` starts the node and sets ``CRIWIST_NODE`` to its address; elsewhere these tests are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.node.readiness import engine_ready, serves
from tools.node.guest import Guest

SOCKET = "/run/criwist.sock"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here as functional, and skip them without a node."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("functional")
            if "CRIWIST_NODE" not in os.environ:
                item.add_marker(pytest.mark.skip(reason="needs a whole node: make node-test"))


@pytest.fixture(scope="session")
def node() -> Iterator[Guest]:
    """The node, with a running engine and criwist and the loaded test image."""
    guest = Guest.load(Path(os.environ["CRIWIST_NODE"]))
    guest.write(images.image(images.BUSYBOX).archive(images.BUSYBOX), "/root/busybox.tar")
    guest.run("docker load --quiet --input /root/busybox.tar")
    yield guest
    guest.close_socket()


@pytest.fixture
def connect(node: Guest) -> Iterator[Callable[[], CRI]]:
    """Connects clients to the node's criwist, again after a reboot; removes all pods at the end."""
    clients: list[CRI] = []

    def make() -> CRI:
        socket = node.socket(SOCKET)
        client = CRI("criwist", socket, Path("/var/log/criwist-tests"), lambda archive: None)
        clients.append(client)
        eventually(lambda: serves(client), within=12, what="criwist serves")
        return client

    yield make
    for client in clients:
        client.close()
    node.run("systemctl start docker.service criwist.service")
    last = make()
    eventually(lambda: engine_ready(last), within=12)
    last.clean()
    last.close()


@pytest.fixture
def cri(connect: Callable[[], CRI]) -> CRI:
    """A client of the node's ready criwist."""
    client = connect()
    eventually(lambda: engine_ready(client), within=12)
    return client
