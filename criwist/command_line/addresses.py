"""Parsers of addresses in options: functions from text to one normal spelling.

Each raises ``ValueError`` with the expected form, which an error shows after the option's name and the value.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re

from criwist.translate.field_rules import MAX_PORT

#: Longest path of a UNIX socket: ``sun_path`` of Linux without its NUL.
_MAX_SOCKET_PATH = 107
#: Ports of an engine without and with TLS (Docker's documentation, "Protect the Docker daemon socket").
_ENGINE_PORT, _ENGINE_TLS_PORT = 2375, 2376

#: containerd's own sockets, as Debian's and Docker's packages have them.  cAdvisor's view must not take their place.
_CONTAINERD = frozenset({"/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"})

_PORT = re.compile(r"\d{1,5}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def cri_endpoint(value: str) -> str:
    """Return the address of the CRI: ``unix:///path``, ``tcp://`` with a loopback address and a port, or ``fd://``.

    ``fd://`` is the path of the first socket that the service manager passes.
    """
    scheme, separator, rest = value.partition("://")
    if value.startswith("/"):
        scheme, separator, rest = "unix", "://", value
    if scheme == "fd" and not rest.strip("/"):
        return "fd://"
    if scheme == "unix" and rest.startswith("/"):
        return _unix(rest)
    if scheme != "tcp" or not separator:
        raise ValueError("expected unix:///path, tcp://127.0.0.1:port or fd://")
    host, port = _host_and_port(rest, "expected unix:///path or tcp://127.0.0.1:port")
    if not port:
        raise ValueError("expected a port that is not 0, since kubelet must know it to connect")
    if not is_loopback(host):
        raise ValueError("expected a loopback address, since every client has the rights of root")
    return f"tcp://{_netloc(host, port)}"


def cadvisor_socket(value: str) -> str:
    """Return the path of a socket; ``""`` for none."""
    if not value:
        return ""
    path = value.removeprefix("unix://")
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError("expected the absolute path of a socket")
    if posixpath.normpath(path).removeprefix("/var") in _CONTAINERD:
        raise ValueError("expected a path of its own, since Docker's containerd serves this one")
    return _unix(path).removeprefix("unix://")


def engine_endpoint(value: str, *, tls: bool) -> str:
    """Return the engine's address: ``unix:///path`` or ``tcp://host:port``; without a port, Docker's default."""
    scheme, separator, rest = value.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return _unix(rest)
    rest = rest.rstrip("/")
    expected = "expected unix:///path or tcp://host:port"
    if scheme != "tcp" or not separator or not rest:
        raise ValueError(expected)
    try:
        host, port = _host_and_port(rest, expected)
    except ValueError:
        host, port = _host(rest, expected), _ENGINE_TLS_PORT if tls else _ENGINE_PORT
    if not port:
        raise ValueError(expected)
    return f"tcp://{_netloc(host, port)}"


def bind_address(value: str) -> str:
    """Return the address to listen on, ``address:port``.

    The text is an address, ``:port`` or both; without an address it is every one, without a port any free one.
    """
    expected = "expected an IP address, with or without a port, like 127.0.0.1:10010"
    if not value:
        return "0.0.0.0:0"
    try:
        host, port = _host_and_port(value if not value.startswith(":") else f"0.0.0.0{value}", expected)
    except ValueError:
        host, port = value[1:-1] if value.startswith("[") and value.endswith("]") else value, 0
    host = "127.0.0.1" if host == "localhost" else host
    try:
        return _netloc(str(ipaddress.ip_address(host)), port)
    except ValueError:
        raise ValueError(expected) from None


def metrics_address(value: str) -> str:
    """Return the address to listen on, as :func:`bind_address` does; ``""`` for none."""
    return bind_address(value) if value else ""


def is_loopback(host: str) -> bool:
    """Return whether *host*, an address or ``localhost``, is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unix(path: str) -> str:
    if "\0" in path or len(path.encode()) > _MAX_SOCKET_PATH:
        raise ValueError(f"expected a path of at most {_MAX_SOCKET_PATH} bytes, the kernel's limit for sockets")
    return f"unix://{path}"


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host_and_port(value: str, expected: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise ValueError(expected)
    return _host(host, expected), int(port)


def _host(value: str, expected: str) -> str:
    """A host name or IPv4 address, or an IPv6 address in brackets."""
    if value.startswith("[") and value.endswith("]"):
        inner = value[1:-1]
        if ":" in inner and _is_address(inner):
            return inner
    elif _HOST.fullmatch(value):
        return value
    raise ValueError(expected)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
