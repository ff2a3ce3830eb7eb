"""Connections to the engine at its address.

:func:`connections` parses an engine address and returns the endpoint for connections that leave HTTP, and Twisted
agents over it.  *pooled* keeps connections open between calls; a pooled connection may turn out dead (dockerd was
restarted), in which case Twisted repeats the request on a new one, which it does for GET and DELETE.  *single* opens
a connection for each request and closes it: for every request that must not be sent twice, so that a request is lost
with a connection only if the engine goes down while carrying it out.  A connection over a UNIX socket costs a tenth
of a millisecond.  *until_close* does so in HTTP/1.0, see :mod:`criwist.docker.until_close`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from OpenSSL import crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint, ITCPTransport
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from criwist.config import TLSFiles
from criwist.docker.until_close import UntilCloseEndpoint
from criwist.errors import InvalidArgument

#: Seconds until a connection is established; a listening dockerd that is stopped (SIGSTOP) does not accept.
CONNECT_LIMIT = 10.0
#: Idle connections that stay open.  More requests than these at once open more, which are closed afterwards.
IDLE_CONNECTIONS = 16
#: Seconds that an idle connection stays open.
IDLE_LIMIT = 60

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@frozen
class EngineConnections:
    """The endpoint and the agents of one engine."""

    endpoint: IStreamClientEndpoint
    #: Scheme and host of URLs: ``http://docker``.
    origin: str
    pooled: IAgent
    single: IAgent
    until_close: IAgent
    _pool: HTTPConnectionPool

    @property
    def host(self) -> str:
        """Return the Host header of requests."""
        return urlsplit(self.origin).netloc

    def close(self) -> Deferred[None]:
        """Close the pool's idle connections; fires when they are closed."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


def connections(reactor: Any, address: str, tls: TLSFiles | None = None) -> EngineConnections:
    """Return the connections to the engine at *address*: ``unix:///path``, or ``tcp://host:port`` with or without TLS.

    With *tls* the engine's certificate must be valid for the host (RFC 6125) and signed by ``tls.ca``, or by the
    system's authorities if that is empty; criwist authenticates with ``tls.certificate`` and ``tls.key``.  This call
    reads the files.

    :raises InvalidArgument: the address is of another form, or a file cannot be used.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return over_endpoint(reactor, UNIXClientEndpoint(reactor, rest, timeout=CONNECT_LIMIT), "http://docker")
    host, port = _host_and_port(address)
    tcp = HostnameEndpoint(reactor, host, port, timeout=CONNECT_LIMIT)
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if tls is None:
        return over_endpoint(reactor, KeptAliveEndpoint(tcp), f"http://{netloc}")
    secured = wrapClientTLS(_tls_options(host, tls), tcp)
    return over_endpoint(reactor, KeptAliveEndpoint(secured), f"https://{netloc}")


def over_endpoint(reactor: Any, endpoint: IStreamClientEndpoint, origin: str) -> EngineConnections:
    """Return the connections to the engine behind *endpoint*."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = IDLE_CONNECTIONS
    pool.cachedConnectionTimeout = IDLE_LIMIT
    only = OnlyEndpoint(endpoint)
    unpooled = HTTPConnectionPool(reactor, persistent=False)
    return EngineConnections(
        endpoint=endpoint,
        origin=origin,
        pooled=Agent.usingEndpointFactory(reactor, only, pool),
        single=Agent.usingEndpointFactory(reactor, only, unpooled),
        until_close=Agent.usingEndpointFactory(reactor, OnlyEndpoint(UntilCloseEndpoint(endpoint)), unpooled),
        pool=pool,
    )


@implementer(IAgentEndpointFactory)
@frozen
class OnlyEndpoint:
    """Returns one endpoint for every URL."""

    endpoint: IStreamClientEndpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self.endpoint


@implementer(IStreamClientEndpoint)
@frozen
class KeptAliveEndpoint:
    """Connects with TCP keep-alive, so that an event feed which is silent for hours notices that the host is gone."""

    endpoint: IStreamClientEndpoint = field()

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def keep_alive(protocol: Any) -> IProtocol:
            transport = protocol.transport
            if ITCPTransport.providedBy(transport):
                transport.setTcpKeepAlive(True)
            return protocol  # type: ignore[no-any-return]  # the endpoint's protocol

        return self.endpoint.connect(protocolFactory).addCallback(keep_alive)


def _host_and_port(address: str) -> tuple[str, int]:
    expected = InvalidArgument("docker-endpoint", f"{address!r} is neither unix:///path nor tcp://host:port")
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        raise expected from None
    if parts.scheme != "tcp" or not parts.hostname or port is None or parts.path.strip("/"):
        raise expected
    return parts.hostname, port


def _tls_options(host: str, tls: TLSFiles) -> Any:
    try:
        trust = trustRootFromCertificates(_authorities(tls.ca)) if tls.ca else platformTrust()
        if not tls.certificate:
            return optionsForClientTLS(host, trustRoot=trust)
        certificate, chain = _client_certificate(tls)
        return optionsForClientTLS(
            host, trustRoot=trust, clientCertificate=certificate, extraCertificateOptions={"extraCertChain": chain}
        )
    except (OSError, crypto.Error, ValueError) as error:
        raise InvalidArgument("docker-endpoint", f"the TLS files cannot be used: {error}") from error


def _authorities(path: str) -> list[Certificate]:
    found = [Certificate.loadPEM(pem) for pem in _CERTIFICATE.findall(Path(path).read_bytes())]
    if not found:
        raise ValueError(f"{path} holds no certificate")
    return found


def _client_certificate(tls: TLSFiles) -> tuple[PrivateCertificate, list[Any]]:
    """The client's certificate with its key, and the intermediate ones that follow it in its file."""
    certificates = _CERTIFICATE.findall(Path(tls.certificate).read_bytes())
    if not certificates:
        raise ValueError(f"{tls.certificate} holds no certificate")
    key = Path(tls.key).read_bytes()
    client = PrivateCertificate.loadPEM(certificates[0] + b"\n" + key)
    return client, [Certificate.loadPEM(pem).original for pem in certificates[1:]]
