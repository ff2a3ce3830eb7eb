"""Read a manifest and find the fields that nothing has read.

A :class:`Section` is one YAML mapping with its path.  Every value is read by name and type.  At the end
:meth:`Section.unread` lists the values that nothing has read, so that no field is ignored silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")


class ManifestError(Exception):
    """The manifest is malformed, or wants something that the demo cannot do: ``path: problem``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class Section:
    """A mapping of the manifest and the path that leads to it, as ``kubectl explain`` spells paths."""

    def __init__(self, path: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise ManifestError(path or "manifest", f"must be a mapping, not {_kind(value)}")
        self.path = path
        self._values = dict(value)
        self._read: set[str] = set()
        self._children: list[Section] = []

    def at(self, key: str) -> str:
        """Return the path of a member."""
        return f"{self.path}.{key}" if self.path else key

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        """Return a string; as in Kubernetes, a number is not converted to a string but refused."""
        return self._typed(key, str, "a string", default)

    def required(self, key: str) -> str:
        """Return a string that must be set."""
        if key not in self or not (value := self.text(key)):
            raise ManifestError(self.at(key), "is required")
        return value

    def whole(self, key: str, default: int = 0) -> int:
        """Return a whole number."""
        value = self._typed(key, int, "a whole number", default)
        if isinstance(value, bool):
            raise ManifestError(self.at(key), "must be a whole number, not true or false")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false."""
        return self._typed(key, bool, "true or false", default)

    def scalar(self, key: str) -> str:
        """Return a string or number as text, ``""`` if absent: quantities are written both ways."""
        value = self._take(key)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ManifestError(self.at(key), f"must be a quantity, not {_kind(value)}")
        return str(value)

    def section(self, key: str) -> Section:
        """Return a mapping; an empty one if absent."""
        child = Section(self.at(key), self._take(key) or {})
        self._children.append(child)
        return child

    def sections(self, key: str) -> Iterator[Section]:
        """Yield the mappings of a list."""
        for index, item in enumerate(self._list(key)):
            child = Section(f"{self.at(key)}[{index}]", item)
            self._children.append(child)
            yield child

    def texts(self, key: str) -> list[str]:
        """Return a list of strings."""
        return [self._member(key, index, item, str, "a string") for index, item in enumerate(self._list(key))]

    def wholes(self, key: str) -> list[int]:
        """Return a list of whole numbers."""
        return [self._member(key, index, item, int, "a whole number") for index, item in enumerate(self._list(key))]

    def strings(self, key: str) -> dict[str, str]:
        """Return a mapping of strings to strings: labels, annotations."""
        section = self.section(key)
        return {name: section.text(name) for name in section._values}

    def unread(self) -> Iterator[str]:
        """Yield the paths of all members, here and below, that were never read."""
        for key, value in self._values.items():
            if key not in self._read and value is not None:
                yield self.at(str(key))
        for child in self._children:
            yield from child.unread()

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self._values.get(key)

    def _typed(self, key: str, kind: type[_T], name: str, default: _T) -> _T:
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise ManifestError(self.at(key), f"must be {name}, not {_kind(value)}")
        return value

    def _list(self, key: str) -> list[Any]:
        return self._typed(key, list, "a list", [])

    def _member(self, key: str, index: int, item: object, kind: type[_T], name: str) -> _T:
        if not isinstance(item, kind):
            raise ManifestError(f"{self.at(key)}[{index}]", f"must be {name}, not {_kind(item)}")
        return item


def _kind(value: object) -> str:
    return {type(None): "nothing", dict: "a mapping", list: "a list"}.get(type(value), repr(value))
