"""Rules for single fields of CRI requests.

Each function takes a value and the field's path, and raises ``InvalidArgument`` with the path and the expected form.
A rule that is not the CRI's own has its reason beside it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from criwist.errors import InvalidArgument
from criwist.reference import is_identifier, parse
from criwist.translate.message_rules import quoted

#: Longest name of a pod, namespace or container, and longest uid.  Kubernetes allows 253 characters at most (a DNS
#: subdomain); together they become one Docker name.
MAX_NAME: Final = 253
#: Longest host name (``HOST_NAME_MAX`` of Linux): sethostname(2) fails beyond it.
MAX_HOSTNAME: Final = 64
#: Longest path that the kernel takes (``PATH_MAX`` without its NUL).
MAX_PATH: Final = 4095
#: Longest time limit, seconds: it fits 32 bits, like Kubernetes' own.  Timers may overflow beyond it.
MAX_SECONDS: Final = 2**31 - 1
MAX_PORT: Final = 65535

_NAME = re.compile(r"[A-Za-z0-9.-]+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HOSTNAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")


def not_empty(value: str, path: str) -> None:
    """A name, which must not be empty."""
    if not value:
        raise InvalidArgument(path, "must not be empty")


def command(words: Sequence[str]) -> None:
    """The command of an exec: its first word names a program."""
    not_empty(words[0] if words else "", "cmd")


def streams(*, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> None:
    """The streams of an exec or attach (CRI, ExecRequest): one at least, and no stderr with a terminal."""
    if tty and stderr:
        raise InvalidArgument("stderr", "must not be set with tty: a terminal has one output, which is stdout")
    if not (stdin or stdout or stderr):
        raise InvalidArgument("stdin", "one of stdin, stdout, stderr must be set")


def port(value: int, path: str) -> None:
    """A port number that a process can listen on."""
    in_range(value, path, 1, MAX_PORT)


def port_number(text: str) -> int | None:
    """Return the port that *text* names in decimal digits, five at most; None if it names none."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    return number if 1 <= number <= MAX_PORT else None


def name_part(value: str, path: str) -> None:
    """A part of a Docker name, which criwist splits at ``_`` to get its parts back."""
    not_empty(value, path)
    if len(value) > MAX_NAME:
        raise InvalidArgument(path, f"is {len(value)} characters long, more than the {MAX_NAME} allowed")
    if "_" in value:
        raise InvalidArgument(path, f"must not contain '_', the separator in Docker names: {quoted(value)}")
    if not _NAME.fullmatch(value):
        raise InvalidArgument(path, f"must consist of letters, digits, '-' and '.': {quoted(value)}")


def identifier(value: str, path: str) -> None:
    """An id, or the beginning of one: it is put into the path of an Engine API request."""
    not_empty(value, path)
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidArgument(path, f"is not an id: {quoted(value)}")


def hostname(value: str, path: str) -> None:
    """A pod's host name, or none: it is set by sethostname(2) and written to the pod's /etc/hosts."""
    if len(value) > MAX_HOSTNAME:
        raise InvalidArgument(path, f"is {len(value)} characters long, more than the {MAX_HOSTNAME} of Linux")
    if value and not _HOSTNAME.fullmatch(value):
        raise InvalidArgument(path, f"is not a host name: {quoted(value)}")


def absolute_path(value: str, path: str) -> None:
    """A path from the root."""
    not_empty(value, path)
    if not value.startswith("/"):
        raise InvalidArgument(path, f"must be an absolute path: {quoted(value)}")
    path_length(value, path)


def relative_path(value: str, path: str) -> None:
    """A path that stays beneath the directory it is relative to, or none."""
    if value.startswith("/"):
        raise InvalidArgument(path, f"must be a relative path: {quoted(value)}")
    stays_beneath(value, path)


def stays_beneath(value: str, path: str) -> None:
    """A path without ``..``, which would lead out of the directory it is for."""
    if ".." in value.split("/"):
        raise InvalidArgument(path, f"must not contain '..': {quoted(value)}")
    path_length(value, path)


def path_length(value: str, path: str) -> None:
    """A path that is not too long for the kernel."""
    length = len(value.encode())
    if length > MAX_PATH:
        raise InvalidArgument(path, f"is {length} bytes long, more than the {MAX_PATH} of Linux")


def in_range(value: int, path: str, least: int, most: int) -> None:
    """A number from *least* to *most*."""
    if not least <= value <= most:
        raise InvalidArgument(path, f"must be from {least} to {most}, not {value}")


def at_least(value: int, path: str, least: int) -> None:
    """A number that is not less than *least*."""
    if value < least:
        raise InvalidArgument(path, f"must be at least {least}, not {value}")


def resolver_word(value: str, path: str) -> None:
    """A word of resolv.conf(5): a space or line break in it would start another word or directive."""
    not_empty(value, path)
    if not value.isprintable() or " " in value:
        raise InvalidArgument(path, f"must be one word: {quoted(value)}")


def ip_address(value: str, path: str) -> None:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise InvalidArgument(path, f"must be an IP address: {quoted(value)}") from None


def image_name(value: str, path: str) -> None:
    """A reference of an image, an id, or the beginning of an id."""
    not_empty(value, path)
    if not is_identifier(value):
        parse(value, path)


def pod_cidr(value: str, path: str) -> None:
    """The range of a node's pods: one CIDR, or one IPv4 and one IPv6, comma-separated.  Empty: not known yet."""
    if not value:
        return
    versions: list[int] = []
    for cidr in value.split(","):
        try:
            versions.append(ipaddress.ip_network(cidr.strip(), strict=False).version)
        except ValueError:
            raise InvalidArgument(path, f"must be a CIDR like 10.88.0.0/24: {quoted(cidr)}") from None
        if "/" not in cidr:
            raise InvalidArgument(path, f"must have a prefix length, like 10.88.0.0/24: {quoted(cidr)}")
    if len(versions) != len(set(versions)):
        raise InvalidArgument(path, f"must be one CIDR, or one for IPv4 and one for IPv6: {quoted(value)}")
