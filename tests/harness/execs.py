"""Execs as a SPDY client runs them."""

from __future__ import annotations

import json
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.spdy_client import Client


def execute(
    cri: CRI, container: str, *command: str, stdin: bool = False, **options: Any
) -> tuple[Client, dict[str, int]]:
    """A client of an exec, and the numbers of its streams."""
    request = api.ExecRequest(container_id=container, cmd=command, stdin=stdin, stdout=True, stderr=True)
    client = Client(cri.runtime.Exec(request).url, **options)
    roles = ["error", "stdout", "stderr", *(["stdin"] if stdin else [])]
    return client, dict(zip(roles, client.open_all(*({"streamtype": role} for role in roles)), strict=True))


def said(client: Client, numbers: dict[str, int]) -> bytes:
    """What a command writes to standard output, all of it and little."""
    client.wait_for(numbers["error"])
    assert json.loads(client.heads[numbers["error"]])["status"] == "Success", client.heads
    return bytes(client.heads[numbers["stdout"]])
