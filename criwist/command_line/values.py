"""Parsers of option values: functions from text to a value.

Each raises ``ValueError`` with the expected form, which an error shows after the option's name and the value.
``addresses`` has those of addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from criwist.errors import InvalidArgument
from criwist.reference import is_identifier, parse
from criwist.translate import field_rules

#: Longest duration that Go can represent, seconds: 2^63 - 1 nanoseconds.
_MAX_DURATION = (2**63 - 1) / 1e9
#: Go's units of time in seconds; the two micro signs look alike.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_SIZE = re.compile(r"\d+(\.\d+)? ?([kmgtp]i?)?b?", re.ASCII | re.IGNORECASE)

_LEVELS = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "fatal": "critical",
    "panic": "critical",
    "critical": "critical",
}
#: klog's verbosity for debugging begins here; smaller ones are for normal operation.
_DEBUG_VERBOSITY = 4


def text(value: str) -> str:
    """Any text, unchanged."""
    return value


def boolean(value: str) -> bool:
    """Go's booleans."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError("expected true or false")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from *least* to *most*."""

    def read(value: str) -> int:
        if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(value)

    return read


def duration(value: str) -> float:
    """A Go duration in seconds: ``1m30s``, ``1.5h``, ``0``."""
    expected = ValueError("expected a duration like 1m30s, 500ms, 2h or 0")
    if value.removeprefix("+") == "0":
        return 0.0
    rest, seconds = value.removeprefix("+"), 0.0
    if not rest:
        raise expected
    while rest:
        match = _DURATION.match(rest)
        if match is None:
            raise expected
        seconds += float(match[1]) * _UNITS[match[2]]
        rest = rest[match.end() :]
    if seconds > _MAX_DURATION:
        raise ValueError("expected a duration of at most 292 years")
    return seconds


def positive_duration(value: str) -> float:
    """A Go duration in seconds, which is not 0."""
    seconds = duration(value)
    if not seconds:
        raise ValueError("expected a duration longer than 0")
    return seconds


def choice(*values: str, other: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """Return a parser of *values*.

    :param other: further names to values, of which ``""`` stands for itself.
    """
    names = dict.fromkeys(values) | dict(other or {})

    def read(value: str) -> str:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(name or repr(name) for name in names)}")
        return names[value] or value

    return read


def absolute(value: str) -> str:
    """An absolute path."""
    if not value.startswith("/") or "\0" in value:
        raise ValueError("expected an absolute path")
    return value


def absolute_or_none(value: str) -> str:
    """An absolute path, or ``""``."""
    return absolute(value) if value else value


def absolute_list(value: str) -> tuple[str, ...]:
    """Absolute paths, comma-separated, one at least."""
    try:
        return tuple(absolute(path) for path in value.split(","))
    except ValueError:
        raise ValueError("expected absolute paths, comma-separated") from None


def word_list(value: str) -> tuple[str, ...]:
    """Words, comma-separated; empty ones do not count."""
    return tuple(word for word in (part.strip() for part in value.split(",")) if word)


def label_list(value: str) -> tuple[str, ...]:
    """Labels, ``key`` or ``key=value``, comma-separated."""
    labels = word_list(value)
    if any(label.startswith("=") for label in labels):
        raise ValueError("expected labels like key or key=value, comma-separated")
    return labels


def image_reference(value: str) -> str:
    """A reference or id of an image, or ``""``."""
    if not value or is_identifier(value):
        return value
    try:
        parse(value)
    except InvalidArgument as error:
        raise ValueError(f"expected an image reference: {error.problem}") from None
    return value


def pod_cidr(value: str) -> str:
    """One CIDR, or one of each family, comma-separated, or ``""``."""
    try:
        field_rules.pod_cidr(value, "")
    except InvalidArgument as error:
        raise ValueError(f"expected 10.88.0.0/24, or 10.88.0.0/24,fd00:88::/64: {error.problem}") from None
    return value


def size(value: str) -> str:
    """A size as Docker's log drivers take it, or ``""``."""
    if value and not _SIZE.fullmatch(value):
        raise ValueError("expected a size like 10m, 500k or 1g")
    return value


def log_level(value: str) -> str:
    """A level of Twisted's logger, by its name or by logrus' name."""
    level = _LEVELS.get(value.lower())
    if level is None:
        raise ValueError(f"expected one of {', '.join(_LEVELS)}")
    return level


def verbosity(value: str) -> str:
    """The level of Twisted's logger that is nearest to klog's ``--v``, or ``""``."""
    if not value:
        return ""
    return "debug" if whole(0, 100)(value) >= _DEBUG_VERBOSITY else "info"
