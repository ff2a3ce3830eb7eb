"""The gRPC server: servicers, the dispatcher to the reactor, and the table of status codes."""

from __future__ import annotations
