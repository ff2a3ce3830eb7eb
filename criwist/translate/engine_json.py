"""Reads the engine's JSON without trusting its shape.

Engines differ in which members they send, send ``null`` for empty values, and will change again.  A member that is
absent, null or of another type reads as the empty value of the requested type, and so does a number that does not fit
64 bits.  Half a surrogate pair, which JSON can spell and protobuf cannot carry, reads as ``?``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from criwist.interfaces.engine import JSONObject

_GREATEST = 2**63 - 1


def text(document: JSONObject, *path: str) -> str:
    """The string at *path*, or ``""``."""
    found = _at(document, path)
    return _unicode(found) if isinstance(found, str) else ""


def number(document: JSONObject, *path: str) -> int:
    """The whole number at *path*, or 0."""
    found = _at(document, path)
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _GREATEST else 0


def flag(document: JSONObject, *path: str) -> bool:
    """The truth value at *path*, or False."""
    return _at(document, path) is True


def member(document: JSONObject, *path: str) -> JSONObject:
    """The object at *path*, or an empty one."""
    found = _at(document, path)
    return found if isinstance(found, Mapping) else {}


def members(document: JSONObject, *path: str) -> list[JSONObject]:
    """The objects in the array at *path*, without anything else that is in it."""
    found = _at(document, path)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def texts(document: JSONObject, *path: str) -> list[str]:
    """The strings in the array at *path*, without anything else that is in it."""
    found = _at(document, path)
    return [_unicode(item) for item in found if isinstance(item, str)] if isinstance(found, list) else []


def text_map(document: JSONObject, *path: str) -> dict[str, str]:
    """The members with string values of the object at *path*."""
    found = member(document, *path)
    return {_unicode(key): _unicode(value) for key, value in found.items() if isinstance(value, str)}


def _unicode(value: str) -> str:
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document
