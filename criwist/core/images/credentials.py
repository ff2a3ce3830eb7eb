"""Credentials for registries: as the CRI brings them, as docker's configuration files hold them, as the engine wants
them.

The engine takes an object with ``username`` and ``password``, or ``identitytoken``, or ``registrytoken``, and
``serveraddress`` (Engine API, "Authentication").  Secrets are never logged and never part of an error.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.logger import Logger

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.interfaces.engine import JSONObject
from criwist.reference import DEFAULT_DOMAIN, Reference

_log = Logger()


def engine_credentials(auth: pb.AuthConfig | None) -> JSONObject | None:
    """What the engine is told for the credentials of a PullImage request; None if there are none.

    :raises InvalidArgument: ``auth`` is not the base64 of ``user:password``.
    """
    if auth is None:
        return None
    username, password = auth.username, auth.password
    if auth.auth and not username and not password:
        try:
            username, password = _decoded_pair(auth.auth)
        except ValueError as error:
            raise InvalidArgument("auth.auth", str(error)) from None
    return _engine_object(
        username=username,
        password=password,
        identity=auth.identity_token,
        registry=auth.registry_token,
        server=auth.server_address,
    )


def _engine_object(
    *, username: str = "", password: str = "", identity: str = "", registry: str = "", server: str = ""
) -> JSONObject | None:
    members = {
        "username": username,
        "password": password,
        "identitytoken": identity,
        "registrytoken": registry,
    }
    given = {name: value for name, value in members.items() if value}
    if not given:
        return None
    return {**given, **({"serveraddress": server} if server else {})}


def _decoded_pair(text: str) -> tuple[str, str]:
    """User and password of an ``auth`` member.  Some tools pad the password with NULs.

    :raises ValueError: it is not the base64 of such a pair; the text says so and does not show it.
    """
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 of user:password") from None
    username, colon, password = decoded.partition(":")
    if not colon or not username:
        raise ValueError("is not base64 of user:password")
    return username, password.strip("\0")


# -- docker's configuration files ----------------------------------------------------------------------------

#: Repositories and registries that all mean Docker Hub.
_HUB = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io"})


@frozen
class DockerConfigs:
    """The places where a kubelet and docker's own tools look for credentials.

    :param environment: ``DOCKER_CONFIG`` and ``HOME`` of it are looked at.
    :param directory: the working directory.
    :param ask: asks a credential program about a registry, see :meth:`CredentialPrograms.get`; None: none are asked.
    """

    environment: Mapping[str, str] = field(factory=dict)
    directory: str = "/"
    ask: Callable[[str, str], Awaitable[JSONObject | None]] | None = None

    def paths(self) -> Sequence[Path]:
        """The files, the first one found counts: ``config.json`` before ``.dockercfg``, as a kubelet has it."""
        home = self.environment.get("HOME", "")
        current = [Path(self.environment["DOCKER_CONFIG"])] if self.environment.get("DOCKER_CONFIG") else []
        current += [Path(self.directory), *([Path(home, ".docker")] if home else []), Path("/.docker")]
        older = [Path(self.directory), *([Path(home)] if home else []), Path("/")]
        return [*(place / "config.json" for place in current), *(place / ".dockercfg" for place in older)]

    async def credentials_for(self, reference: Reference) -> Sequence[JSONObject]:
        """Credentials that fit the image, the closest match first.  The file is read anew at each call.

        What the file holds itself comes before what a program has that it names.  A file that cannot be read or
        understood is logged and passed over.
        """
        for path in self.paths():
            configuration = _read(path)
            if configuration is not None:
                found = list(_matching(configuration.auths, reference))
                program = configuration.programs.get(reference.domain, configuration.program)
                asked = await self.ask(program, _server(reference)) if program and self.ask is not None else None
                return [*found, *([asked] if asked is not None else [])]
        return ()


@frozen
class _Configuration:
    auths: Mapping[str, Any]
    #: Program that keeps the credentials of all registries; ``""``: none.
    program: str = ""
    #: Programs for single registries.
    programs: Mapping[str, str] = field(factory=dict)


def _read(path: Path) -> _Configuration | None:
    """What the file holds; None: no such file, or none that can be used.

    ``config.json`` has credentials in a member ``auths``, ``.dockercfg`` is nothing but them.
    """
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        _log.warn("{path} is passed over, it cannot be read: {error}", path=str(path), error=type(error).__name__)
        return None
    if not isinstance(document, dict):
        _log.warn("{path} is passed over, it holds no credentials", path=str(path))
        return None
    if path.name != "config.json":
        return _Configuration(document)
    auths, program, programs = document.get("auths"), document.get("credsStore"), document.get("credHelpers")
    return _Configuration(
        auths if isinstance(auths, dict) else {},
        program if isinstance(program, str) else "",
        {_Place.of(key).host: str(value) for key, value in programs.items()} if isinstance(programs, dict) else {},
    )


def _server(reference: Reference) -> str:
    """What docker's tools call the registry when they ask a credential program."""
    return "https://index.docker.io/v1/" if reference.domain == DEFAULT_DOMAIN else reference.domain


def _matching(auths: Mapping[str, Any], reference: Reference) -> Iterator[JSONObject]:
    keys = [(_Place.of(key), key) for key in auths]
    fitting = [(place, key) for place, key in keys if place.fits(reference)]
    for place, key in sorted(fitting, key=lambda item: (-len(item[0].path), "*" in item[0].host)):
        try:
            credentials = _entry(auths[key], place.host)
        except ValueError as error:
            _log.warn("the credentials for {key} are passed over: {error}", key=key, error=str(error))
            continue
        if credentials is not None:
            yield credentials


def _entry(entry: Any, server: str) -> JSONObject | None:
    if not isinstance(entry, dict):
        raise ValueError("is no object")
    members = {name: value for name, value in entry.items() if isinstance(value, str)}
    username, password = members.get("username", ""), members.get("password", "")
    if members.get("auth"):
        username, password = _decoded_pair(members["auth"])
    return _engine_object(
        username=username,
        password=password,
        identity=members.get("identitytoken", ""),
        registry=members.get("registrytoken", ""),
        server=server,
    )


@frozen
class _Place:
    """What a key of ``auths`` stands for: a registry, by name or pattern, and perhaps a part of it."""

    host: str
    #: Components of a repository's path, ``""`` for all of the registry.
    path: str

    @classmethod
    def of(cls, key: str) -> _Place:
        """Keys come with and without scheme, and with the path of a registry's API."""
        bare = key.partition("://")[2] or key
        host, _, path = bare.strip("/").partition("/")
        host = "docker.io" if host in _HUB else host
        return cls(host, "" if path in ("v1", "v2") else path.removeprefix("v1/").removeprefix("v2/"))

    def fits(self, reference: Reference) -> bool:
        """Whether the image is there.  A ``*`` stands for (a part of) one label of the name, as a kubelet has it."""
        ours, theirs = self.host.split("."), reference.domain.split(".")
        if len(ours) != len(theirs) or not all(map(fnmatchcase, theirs, ours)):
            return False
        return not self.path or f"{reference.path}/".startswith(f"{self.path}/")
