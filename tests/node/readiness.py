"""The readiness that a criwist reports."""

from __future__ import annotations

import grpc

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI


def serves(cri: CRI) -> bool:
    """Return whether the CRI responds to Status, which needs no engine; Version needs that one was connected once."""
    try:
        cri.runtime.Status(api.StatusRequest())
    except grpc.RpcError:
        return False
    return True


def engine_ready(cri: CRI) -> bool:
    """Return whether criwist reports that it can run pods."""
    return condition(cri, "RuntimeReady").status


def condition(cri: CRI, name: str) -> api.RuntimeCondition:
    """Return one of the conditions in Status."""
    response: api.StatusResponse = cri.runtime.Status(api.StatusRequest())
    conditions = response.status.conditions
    return next(one for one in conditions if one.type == name)
