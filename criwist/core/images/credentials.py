"""Credentials for registries: from CRI requests and Docker's configuration files to the engine's form.

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
    """Return the credentials of a PullImage request in the engine's form; None if there are none.

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
    """Return user and password of an ``auth`` member.  Some tools pad the password with NULs.

    :raises ValueError: it is not the base64 of such a pair; the error does not contain it.
    """
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 of user:password") from None
    username, colon, password = decoded.partition(":")
    if not colon or not username:
        raise ValueError("is not base64 of user:password")
    return username, password.strip("\0")


# -- Docker's configuration files ----------------------------------------------------------------------------

#: Names of Docker Hub.
_HUB = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io"})


@frozen
class DockerConfigs:
    """The files in which a kubelet and Docker's own tools find credentials.

    :param environment: ``DOCKER_CONFIG`` and ``HOME`` of it are read.
    :param directory: the working directory.
    :param run_helper: :meth:`CredentialHelpers.get`; None: no helper is run.
    """

    environment: Mapping[str, str] = field(factory=dict)
    directory: str = "/"
    run_helper: Callable[[str, str], Awaitable[JSONObject | None]] | None = None

    def paths(self) -> Sequence[Path]:
        """Return the files in a kubelet's order, ``config.json`` before ``.dockercfg``.

        Only the first file that can be used is read for credentials.
        """
        home = self.environment.get("HOME", "")
        current = [Path(self.environment["DOCKER_CONFIG"])] if self.environment.get("DOCKER_CONFIG") else []
        current += [Path(self.directory), *([Path(home, ".docker")] if home else []), Path("/.docker")]
        older = [Path(self.directory), *([Path(home)] if home else []), Path("/")]
        return [
            *(directory / "config.json" for directory in current),
            *(directory / ".dockercfg" for directory in older),
        ]

    async def credentials_for(self, reference: Reference) -> Sequence[JSONObject]:
        """Return credentials that match the image, the closest match first.  The file is read at each call.

        Credentials in the file come before those of a helper that it names.  A file that cannot be read or parsed is
        logged and skipped.
        """
        for path in self.paths():
            configuration = _read(path)
            if configuration is not None:
                found = list(_matching(configuration.auths, reference))
                helper = configuration.helpers.get(reference.domain, configuration.helper)
                if helper and self.run_helper is not None:
                    credentials = await self.run_helper(helper, _server(reference))
                    found += [credentials] if credentials is not None else []
                return found
        return ()


@frozen
class _Configuration:
    auths: Mapping[str, Any]
    #: Credential helper for all registries; ``""``: none.
    helper: str = ""
    #: Credential helpers for single registries.
    helpers: Mapping[str, str] = field(factory=dict)


def _read(path: Path) -> _Configuration | None:
    """Parse the file; None if it does not exist or cannot be used.

    ``config.json`` has credentials in its member ``auths``; ``.dockercfg`` is such an object itself.
    """
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        _log.warn("{path} is skipped, it cannot be read: {error}", path=str(path), error=type(error).__name__)
        return None
    if not isinstance(document, dict):
        _log.warn("{path} is skipped, it is not a JSON object", path=str(path))
        return None
    if path.name != "config.json":
        return _Configuration(document)
    auths, helper, helpers = document.get("auths"), document.get("credsStore"), document.get("credHelpers")
    return _Configuration(
        auths if isinstance(auths, dict) else {},
        helper if isinstance(helper, str) else "",
        {_Scope.parse(key).host: str(name) for key, name in helpers.items()} if isinstance(helpers, dict) else {},
    )


def _server(reference: Reference) -> str:
    """Return the name under which Docker's tools store the registry's credentials in a helper."""
    return "https://index.docker.io/v1/" if reference.domain == DEFAULT_DOMAIN else reference.domain


def _matching(auths: Mapping[str, Any], reference: Reference) -> Iterator[JSONObject]:
    keys = [(_Scope.parse(key), key) for key in auths]
    matching = [(scope, key) for scope, key in keys if scope.matches(reference)]
    for scope, key in sorted(matching, key=lambda item: (-len(item[0].path), "*" in item[0].host)):
        try:
            credentials = _entry(auths[key], scope.host)
        except ValueError as error:
            _log.warn("the credentials for {key} are skipped: {error}", key=key, error=str(error))
            continue
        if credentials is not None:
            yield credentials


def _entry(entry: Any, server: str) -> JSONObject | None:
    if not isinstance(entry, dict):
        raise ValueError("is not an object")
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
class _Scope:
    """The images that a key of ``auths`` applies to: a registry, by name or pattern, or a part of it."""

    host: str
    #: First components of the repositories' paths; ``""``: the whole registry.
    path: str

    @classmethod
    def parse(cls, key: str) -> _Scope:
        """Parse a key, which may have a scheme, and the path of a registry's API."""
        bare = key.partition("://")[2] or key
        host, _, path = bare.strip("/").partition("/")
        host = "docker.io" if host in _HUB else host
        return cls(host, "" if path in ("v1", "v2") else path.removeprefix("v1/").removeprefix("v2/"))

    def matches(self, reference: Reference) -> bool:
        """Return whether the key applies to the image.  As in a kubelet, ``*`` is (a part of) one label of a name."""
        ours, theirs = self.host.split("."), reference.domain.split(".")
        if len(ours) != len(theirs) or not all(map(fnmatchcase, theirs, ours)):
            return False
        return not self.path or f"{reference.path}/".startswith(f"{self.path}/")
