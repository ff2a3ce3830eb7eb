"""Responses that end with their connection, as in HTTP/1.0.

To a client of HTTP/1.1 the engine sends a stream in chunks, one for each message, and parsing the chunks of a log costs
more than all later processing of its lines.  A client of HTTP/1.0 gets the same bytes without chunks.  The price: a
response that was cut off looks like one that ended (Twisted calls it PotentialDataLoss), so this is for streams that
the receiver requests again when they end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

_NEWER = b" HTTP/1.1\r\n"
_OLDER = b" HTTP/1.0\r\n"


class _OlderVersion(ProtocolWrapper):
    """A connection whose one request names the older version."""

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write the request's head, whose first line is Twisted's first item, with the older version."""
        first, *rest = data
        if not first.endswith(_NEWER):
            raise ValueError(f"not the first line of a request: {first[:80]!r}")
        self.transport.writeSequence([first.removesuffix(_NEWER) + _OLDER, *rest])  # type: ignore[union-attr]


class _OlderVersions(WrappingFactory):
    protocol = _OlderVersion
    noisy = False


@implementer(IStreamClientEndpoint)
@frozen
class UntilCloseEndpoint:
    """Connects to the engine behind *endpoint*, for one request without a body on each connection."""

    endpoint: IStreamClientEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def unwrapped(wrapper: Any) -> IProtocol:
            return wrapper.wrappedProtocol  # type: ignore[no-any-return]  # the factory's protocol

        wrapping: Any = _OlderVersions
        return self.endpoint.connect(wrapping(protocolFactory)).addCallback(unwrapped)
