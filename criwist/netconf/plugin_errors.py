"""Errors in CNI: documents that break the specification, and errors that plugins report."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen


class MalformedDocument(ValueError):
    """A configuration, result or cache file breaks the specification; the text names the place."""


@frozen
class PluginError:
    """A plugin's error object (specification, "Error")."""

    #: 0 if the plugin gave none; the specification defines the codes below 100.
    code: int
    message: str
    details: str = ""

    def __str__(self) -> str:
        """Return the message, and the details after it unless they repeat it."""
        details = "" if self.details in self.message else self.details
        return "; ".join(filter(None, (self.message, details))) or "no message"


#: STATUS: the plugin cannot serve ADD now.
NOT_AVAILABLE = 50
#: STATUS: and existing attachments may not work.
NOT_AVAILABLE_LIMITED = 51

#: Characters of a plugin's output that an error quotes.
_QUOTED = 300


def read_plugin_error(output: bytes) -> PluginError | None:
    """Return the error object in a failed plugin's standard output, or None if there is none or it is empty."""
    try:
        document = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    code, message, details = document.get("code"), document.get("msg"), document.get("details")
    error = PluginError(
        code=code if isinstance(code, int) else 0,
        message=message.strip() if isinstance(message, str) else "",
        details=details.strip() if isinstance(details, str) else "",
    )
    if not error.message and not error.details and not error.code:
        return None
    return error


def quote_output(output: bytes) -> str:
    """Return the beginning of a plugin's output, fit for an error text."""
    text = " ".join(output.decode("utf-8", "replace").split())
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"


def parse_json_object(content: bytes | str) -> dict[str, Any]:
    """Parse *content* as a JSON object.

    :raises MalformedDocument: it is not one; the text quotes it.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        text = quote_output(content if isinstance(content, bytes) else content.encode("utf-8"))
        raise MalformedDocument(f"not a JSON object: {text}" if text else "nothing")
    return document


def object_or_empty(value: object, where: str) -> dict[str, Any]:
    """Return *value* if it is a JSON object; an empty one for None.

    :raises MalformedDocument: it is of another type.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedDocument(f"{where} is not an object")
    return value


def list_or_empty(value: object, where: str) -> list[Any]:
    """Return *value* if it is a JSON array; an empty one for None.

    :raises MalformedDocument: it is of another type.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedDocument(f"{where} is not a list")
    return value


def text_or_empty(value: object, where: str) -> str:
    """Return *value* if it is a string; ``""`` for None.

    :raises MalformedDocument: it is of another type.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedDocument(f"{where} is not a string")
    return value
