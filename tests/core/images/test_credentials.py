"""Credentials are converted to the engine's form, and found in Docker's configuration files."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.credentials import DockerConfigs, engine_credentials
from criwist.errors import InvalidArgument
from criwist.interfaces.engine import JSONObject
from criwist.reference import parse


def pair(text: str) -> str:
    """Return *text* as an ``auth`` member has it."""
    return base64.b64encode(text.encode()).decode()


class EngineCredentialsTests(SynchronousTestCase):
    """The AuthConfig of a PullImage request."""

    def test_nothing_given_is_nothing(self) -> None:
        """None, an empty AuthConfig, and one with a server alone are an anonymous pull."""
        self.assertIsNone(engine_credentials(None))
        self.assertIsNone(engine_credentials(pb.AuthConfig()))
        self.assertIsNone(engine_credentials(pb.AuthConfig(server_address="registry.example")))

    def test_user_and_password(self) -> None:
        """User and password are passed on with their server."""
        auth = pb.AuthConfig(username="me", password="p:w", server_address="https://registry.example")
        self.assertEqual(
            engine_credentials(auth),
            {"username": "me", "password": "p:w", "serveraddress": "https://registry.example"},
        )

    def test_auth_is_user_and_password(self) -> None:
        """``auth`` is user and password in base64; the password may contain a colon and may be padded."""
        self.assertEqual(
            engine_credentials(pb.AuthConfig(auth=pair("me:p:w\0"))), {"username": "me", "password": "p:w"}
        )

    def test_plain_members_go_before_auth(self) -> None:
        """With both, the plain members are used."""
        auth = pb.AuthConfig(username="me", password="pw", auth=pair("other:x"))
        self.assertEqual(engine_credentials(auth), {"username": "me", "password": "pw"})

    def test_tokens(self) -> None:
        """Identity and registry tokens are passed on."""
        self.assertEqual(engine_credentials(pb.AuthConfig(identity_token="t")), {"identitytoken": "t"})
        self.assertEqual(engine_credentials(pb.AuthConfig(registry_token="t")), {"registrytoken": "t"})

    def test_malformed_auth_is_refused_and_not_shown(self) -> None:
        """The error names the field and does not contain its value."""
        for text in ("not base64!", pair("no colon"), pair(":pw"), base64.b64encode(b"\xff:\xff").decode()):
            error = self.assertRaises(InvalidArgument, engine_credentials, pb.AuthConfig(auth=text))
            self.assertEqual(error.field, "auth.auth")
            self.assertNotIn(text, str(error))


class DockerConfigsTests(SynchronousTestCase):
    """The node's own credentials."""

    def setUp(self) -> None:
        """Make a home and a working directory."""
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.home, self.directory = Path(scratch.name, "home"), Path(scratch.name, "work")
        (self.home / ".docker").mkdir(parents=True)
        self.directory.mkdir()
        self.configs = DockerConfigs({"HOME": str(self.home)}, str(self.directory))

    def write(self, path: Path, document: object) -> None:
        """Write *document* to a file as JSON."""
        path.write_text(json.dumps(document))

    def found(self, reference: str) -> Any:
        """Return the credentials for an image."""
        return self.successResultOf(Deferred.fromCoroutine(self.configs.credentials_for(parse(reference))))

    def users(self, reference: str) -> list[str]:
        """Return the user names of the credentials for an image."""
        return [str(one["username"]) for one in self.found(reference)]

    def config(self, **users: str) -> None:
        """Write a config.json with the user for each key, and the password ``pw``."""
        auths = {key: {"auth": pair(f"{user}:pw")} for key, user in users.items()}
        self.write(self.home / ".docker" / "config.json", {"auths": auths})

    def test_no_file_no_credentials(self) -> None:
        """Without a file there are no credentials."""
        self.assertEqual(self.users("registry.example/a"), [])

    def test_the_registry_s_credentials(self) -> None:
        """A key matches by host and port, and no other registry."""
        self.config(**{"registry.example:5000": "me", "https://other.example/v2/": "other"})
        self.assertEqual(self.users("registry.example:5000/a/b:1"), ["me"])
        self.assertEqual(self.users("other.example/a"), ["other"])
        self.assertEqual(self.users("registry.example/a"), [])

    def test_the_hub_has_many_names(self) -> None:
        """``https://index.docker.io/v1/``, where docker login stores them, is Docker Hub."""
        self.config(**{"https://index.docker.io/v1/": "me"})
        self.assertEqual(self.users("busybox"), ["me"])

    def test_the_longest_path_goes_first(self) -> None:
        """All matching credentials are returned, the closest first; a path matches whole components."""
        self.config(**{"r.example": "all", "r.example/team": "team", "r.example/team/app": "app", "r.example/te": "no"})
        self.assertEqual(self.users("r.example/team/app:1"), ["app", "team", "all"])

    def test_a_star_stands_for_a_label(self) -> None:
        """``*`` matches one label of a name, not two; an exact name goes before a pattern."""
        self.config(**{"*.example.com": "star", "a.example.com": "name"})
        self.assertEqual(self.users("a.example.com/x"), ["name", "star"])
        self.assertEqual(self.users("a.b.example.com/x"), [])

    def test_plain_members_and_tokens(self) -> None:
        """Entries with plain members or tokens are read too."""
        auths = {"a.example": {"username": "me", "password": "pw"}, "b.example": {"identitytoken": "t"}}
        self.write(self.home / ".docker" / "config.json", {"auths": auths})
        self.assertEqual(
            self.found("a.example/x"),
            [{"username": "me", "password": "pw", "serveraddress": "a.example"}],
        )
        self.assertEqual(self.found("b.example/x"), [{"identitytoken": "t", "serveraddress": "b.example"}])

    def test_the_older_form(self) -> None:
        """``.dockercfg`` is an object of entries itself."""
        self.write(self.home / ".dockercfg", {"a.example": {"auth": pair("me:pw"), "email": "x"}})
        self.assertEqual(self.users("a.example/x"), ["me"])

    def test_the_first_file_counts(self) -> None:
        """The order is DOCKER_CONFIG, working directory, home; config.json before .dockercfg."""
        self.config(**{"a.example": "home"})
        self.write(self.directory / ".dockercfg", {"a.example": {"auth": pair("older:pw")}})
        self.assertEqual(self.users("a.example/x"), ["home"])
        self.write(self.directory / "config.json", {"auths": {"a.example": {"auth": pair("cwd:pw")}}})
        self.assertEqual(self.users("a.example/x"), ["cwd"])
        self.configs = DockerConfigs(
            {"HOME": "/none", "DOCKER_CONFIG": str(self.home / ".docker")}, str(self.directory)
        )
        self.assertEqual(self.users("a.example/x"), ["home"])

    def test_credential_helpers(self) -> None:
        """The registry's helper is run, else that for all, after the file's own; Docker Hub is a URL there."""
        runs: list[tuple[str, str]] = []

        async def run_helper(helper: str, server: str) -> JSONObject | None:
            runs.append((helper, server))
            return {"username": helper} if helper != "empty" else None

        self.configs = evolve(self.configs, run_helper=run_helper)
        document = {
            "auths": {"a.example": {"auth": pair("me:pw")}, "b.example": {}},
            "credsStore": "pass",
            "credHelpers": {"a.example": "own", "https://c.example": "empty"},
        }
        self.write(self.home / ".docker" / "config.json", document)
        self.assertEqual(self.users("a.example/x"), ["me", "own"])
        self.assertEqual(self.users("b.example/x"), ["pass"])
        self.assertEqual(self.users("c.example/x"), [])
        self.assertEqual(self.users("busybox"), ["pass"])
        servers = ["a.example", "b.example", "c.example", "https://index.docker.io/v1/"]
        self.assertEqual(runs, list(zip(("own", "pass", "empty", "pass"), servers, strict=True)))

    def test_malformed_files_and_entries_are_skipped(self) -> None:
        """A damaged file or entry hides neither the next file nor the other entries."""
        (self.directory / "config.json").write_text("{")
        self.write(
            self.home / ".docker" / "config.json",
            {"auths": {"a.example": {"auth": "!"}, "a.example/x": [], "a.example/x/y": {"auth": pair("me:pw")}}},
        )
        self.assertEqual(self.users("a.example/x/y"), ["me"])
