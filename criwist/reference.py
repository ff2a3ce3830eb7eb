"""Image references: ``registry.example:5000/team/app:1.2@sha256:…``.

The grammar is that of the OCI distribution specification and of Docker's tools, including their short forms:
``busybox`` stands for ``docker.io/library/busybox``.  A first part is a registry if it has a dot, a colon or a capital
letter, or is ``localhost``.  :class:`Reference` always holds the full form; ``familiar`` is the short one, which
Docker uses in its lists.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import evolve, frozen

from criwist.errors import InvalidArgument

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
#: Docker's limit for a repository's path.
MAX_PATH: Final = 255
#: Longer texts are not parsed: no reference within the other limits has this length.
MAX_TEXT: Final = 1024

_OLD_DEFAULT_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,512}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


@frozen
class Reference:
    """A parsed reference.  ``str()`` returns the full form, which parses to an equal value."""

    domain: str
    path: str
    #: ``""``: none.
    tag: str = ""
    #: ``sha256:…``; ``""``: none.
    digest: str = ""

    @property
    def name(self) -> str:
        """Return registry and path: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """Return the name as Docker shows it: ``busybox``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short else short

    @property
    def familiar(self) -> str:
        """Return the reference as Docker shows it: ``busybox:1.36``."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix

    def specific(self) -> Reference:
        """Return the reference that names one image: by its digest if it has one, else by its tag, else ``latest``.

        A tag beside a digest is dropped: the digest already names the image, and a registry request has one of the two.
        """
        if self.digest:
            return evolve(self, tag="")
        return self if self.tag else evolve(self, tag=DEFAULT_TAG)


def parse(text: str, field: str = "image.image") -> Reference:
    """Parse an image reference.

    :param field: its name in errors.
    :raises InvalidArgument: *text* is not an image reference, or is an image id.
    """
    if not text:
        raise InvalidArgument(field, "must not be empty")
    if len(text) > MAX_TEXT:
        raise InvalidArgument(field, f"is longer than {MAX_TEXT} characters")
    if is_identifier(text) and len(text.removeprefix("sha256:")) == 64:
        raise InvalidArgument(field, f"{text!r} is an image id, not a reference")
    rest, at, digest = text.partition("@")
    if at and not _is_digest(digest):
        raise InvalidArgument(field, f"{text!r}: {digest!r} is not a digest")
    domain, path = _split_domain(rest)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument(field, f"{text!r}: {tag!r} is not a tag")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    if not _DOMAIN.fullmatch(domain):
        raise InvalidArgument(field, f"{text!r}: {domain!r} is not a registry")
    if not _PATH.fullmatch(path):
        problem = "must be in lower case" if _PATH.fullmatch(path.lower()) else "is not a repository"
        raise InvalidArgument(field, f"{text!r}: {path!r} {problem}")
    if len(path) > MAX_PATH:
        raise InvalidArgument(field, f"{text[:80]!r}…: the repository is longer than {MAX_PATH} characters")
    return Reference(domain, path, tag, digest)


def is_identifier(text: str) -> bool:
    """Return whether *text* may be an image id or the beginning of one: hex digits, with or without ``sha256:``.

    A short one may be a reference too: there are repositories called ``cafe``.
    """
    return _IDENTIFIER.fullmatch(text) is not None


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not (first == "localhost" or any(mark in first for mark in ".:") or first != first.lower()):
        return DEFAULT_DOMAIN, text
    return (DEFAULT_DOMAIN if first == _OLD_DEFAULT_DOMAIN else first), rest


def _is_digest(text: str) -> bool:
    if text.startswith("sha256:"):
        return _SHA256.fullmatch(text) is not None
    return _DIGEST.fullmatch(text) is not None
