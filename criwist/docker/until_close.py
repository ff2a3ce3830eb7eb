"""Answers that only the end of their connection ends, as HTTP/1.0 has them.

To a client of HTTP/1.1 the engine sends a stream in chunks, one for each message, and taking a log's lines out of their
chunks costs more than all that becomes of them.  A client of HTTP/1.0 gets the same bytes without.  The price: that an
answer was cut off cannot be told from its end (Twisted calls it PotentialDataLoss), so it is for streams of which the
receiver asks for more anyway.
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
        """The request's head, as Twisted writes it: its first line is the first item."""
        first, *rest = data
        if not first.endswith(_NEWER):
            raise ValueError(f"no request begins with {first[:80]!r}")
        self.transport.writeSequence([first.removesuffix(_NEWER) + _OLDER, *rest])  # type: ignore[union-attr]


class _OlderVersions(WrappingFactory):
    protocol = _OlderVersion
    noisy = False


@implementer(IStreamClientEndpoint)
@frozen
class UntilCloseEndpoint:
    """Connections for one request each, without a body, to the engine behind *endpoint*."""

    endpoint: IStreamClientEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect as the endpoint does."""

        def unwrapped(wrapper: Any) -> IProtocol:
            return wrapper.wrappedProtocol  # type: ignore[no-any-return]  # what the factory made

        wrapping: Any = _OlderVersions
        return self.endpoint.connect(wrapping(protocolFactory)).addCallback(unwrapped)
