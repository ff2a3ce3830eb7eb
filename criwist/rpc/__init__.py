"""gRPC servicers, the door to the reactor, and the fault table."""

from __future__ import annotations
