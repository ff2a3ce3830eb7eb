"""The command line of ``twistd criwist``, parsed into a :class:`~criwist.config.Config`.

``table`` has the options, ``go_flags`` parses the line in the syntax of Go programs, ``values`` and ``addresses`` parse
the values.  This module combines them with the environment and checks options that depend on each other.  It accepts
klog's options, which are common in unit files of older shims, with a warning.

A wrong value is a usage error with the option as the user wrote it, the value, and the expected form.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NoReturn

from twisted.python import usage

from criwist import __version__
from criwist.command_line.addresses import engine_endpoint, is_loopback
from criwist.command_line.go_flags import CommandLine, Flag, FlagError, read_flags
from criwist.command_line.table import KLOG, OPTIONS, Option
from criwist.command_line.values import boolean
from criwist.config import Config, TLSFiles

_ENGINE_SOCKET = "unix:///var/run/docker.sock"


def _flags() -> dict[str, Flag]:
    flags = {name: Flag(name, boolean) for name, boolean in KLOG.items()}
    for option in OPTIONS:
        for name in (option.name, *option.aliases):
            flags[name] = Flag(option.name, option.boolean)
    flags["h"] = Flag("help", boolean=True)
    for name in ("help", "version", "buildinfo"):
        flags[name] = Flag(name, boolean=True)
    return flags


class Options(usage.Options):
    """Options of ``twistd criwist``.

    :param environment: contains DOCKER_HOST and related variables.
    :ivar warnings: after parsing: sentences about options that have no effect or are unwise.  To be logged.
    """

    synopsis = "[options]"
    longdesc = (
        "Serve the Kubernetes CRI for Docker Engine. Options of dockershim and cri-dockerd are accepted. "
        "Of klog's options only --v has an effect."
    )
    optParameters = [[option.name, None, option.default or None, option.doc] for option in OPTIONS]

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        usage.Options.__init__(self)
        self._environment = environment
        #: Options as the user wrote them, by name.
        self._spelled: dict[str, str] = {}
        self.warnings: list[str] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse a command line, by default this process's.

        :raises UsageError: it is wrong.
        """
        try:
            line = read_flags(sys.argv[1:] if options is None else options, _flags())
        except FlagError as error:
            raise usage.UsageError(str(error)) from None
        usage.Options.parseOptions(self, self._arguments(line))

    def parseArgs(self, *arguments: str) -> None:
        """Refuse arguments that are not options."""
        if arguments:
            raise usage.UsageError(
                f"unexpected argument {arguments[0]!r}: the value of a true-or-false option follows '='"
            )

    def postOptions(self) -> None:
        """Check all values now, while twistd still shows usage errors."""
        self.config()

    def opt_version(self) -> NoReturn:
        """Print criwist's version and exit."""
        print(f"criwist {__version__}")
        sys.exit(0)

    def opt_buildinfo(self) -> NoReturn:
        """Print the versions of criwist, Python and the main libraries, and exit."""
        print(f"criwist {__version__}\nPython {platform.python_version()} {sys.executable}")
        for name in ("twisted", "grpcio", "protobuf", "treq"):
            print(f"{name} {metadata.version(name)}")
        sys.exit(0)

    def config(self) -> Config:
        """Return the effective configuration.

        :raises UsageError: a value is wrong, or conflicts with another.
        """
        read = {option.name: self._read(option) for option in OPTIONS}
        members = {option.member: read[option.name] for option in OPTIONS if option.member}
        endpoint, tls = self._engine(read)
        self._check_streaming(read)
        self._check_metrics(read)
        if not read["container-log-driver"]:
            for name in ("container-log-max-size", "container-log-max-files"):
                if read[name]:
                    raise self._wrong(
                        name, "needs --container-log-driver, since the daemon's default may not support it"
                    )
        if read["cadvisor-socket"] and read["endpoint"] == f"unix://{read['cadvisor-socket']}":
            raise self._wrong("cadvisor-socket", "expected another path than that of --endpoint")
        if not read["ipv6-dual-stack"]:
            self._warn("--ipv6-dual-stack=false has no effect: pods get all addresses that their network assigns")
        return Config(
            **members,
            docker_endpoint=endpoint,
            docker_tls=tls,
            metrics_tls=self._tls("metrics-tls", read, ca=True),
            streaming_tls=self._tls("streaming-tls", read, ca=False),
            log_level=read["log-level"] if "log-level" in self._spelled else read["v"] or read["log-level"],
        )

    def _arguments(self, line: CommandLine) -> list[str]:
        """The command line in getopt's syntax, with the last value of each option."""
        known = {option.name: option for option in OPTIONS}
        chosen: dict[str, str] = {}
        for given in line.given:
            if given.name in KLOG:
                self.warnings.append(
                    f"{given.spelled} has no effect: criwist logs through twistd, see twistd's --logfile and --syslog"
                )
            elif given.name in known:
                before = chosen.get(given.name, "") if known[given.name].repeated else ""
                chosen[given.name] = f"{before},{given.value}" if before else given.value
                self._spelled[given.name] = given.spelled
            elif boolean(given.value):
                chosen[given.name] = ""
        plain = [f"--{name}={value}" if name in known else f"--{name}" for name, value in chosen.items()]
        return [*plain, "--", *line.arguments]

    def _read(self, option: Option) -> Any:
        try:
            return option.read(self._text(option.name))
        except ValueError as error:
            raise self._wrong(option.name, str(error)) from None

    def _wrong(self, name: str, expected: str) -> usage.UsageError:
        return usage.UsageError(f"{self._spelled.get(name, f'--{name}')}={self._text(name)!r}: {expected}")

    def _text(self, name: str) -> str:
        """The value as the user wrote it; the default, or ``""``, without one."""
        return self[name] or ""

    def _engine(self, read: Mapping[str, Any]) -> tuple[str, TLSFiles | None]:
        """The engine's address and the TLS files for it, from options, else from the environment."""
        tls = self._tls("docker-tls", read, ca=True)
        address, source = self._text("docker-endpoint"), self._spelled.get("docker-endpoint", "--docker-endpoint")
        if not address:
            address, source = self._environment.get("DOCKER_HOST", ""), "DOCKER_HOST"
            if address.startswith("tcp://") and tls is None:
                tls = self._environment_tls()
        address = address or _ENGINE_SOCKET
        try:
            endpoint = engine_endpoint(address, tls=tls is not None)
        except ValueError as error:
            raise usage.UsageError(f"{source}={address!r}: {error}") from None
        over_network = endpoint.startswith("tcp://")
        if tls is not None and not over_network:
            raise self._wrong("docker-tls-ca", "needs a tcp:// engine")
        if over_network and tls is None:
            self._warn(f"the connection to the engine at {endpoint} is neither encrypted nor authenticated")
        return endpoint, tls

    def _environment_tls(self) -> TLSFiles | None:
        directory = self._environment.get("DOCKER_CERT_PATH", "")
        if not directory:
            if self._environment.get("DOCKER_TLS_VERIFY"):
                raise usage.UsageError("DOCKER_TLS_VERIFY is set: expected DOCKER_CERT_PATH to name a directory")
            return None
        if not directory.startswith("/"):
            raise usage.UsageError(f"DOCKER_CERT_PATH={directory!r}: expected an absolute path")
        return TLSFiles(*(os.path.join(directory, name) for name in ("ca.pem", "cert.pem", "key.pem")))

    def _tls(self, prefix: str, read: Mapping[str, Any], *, ca: bool) -> TLSFiles | None:
        authority = read[f"{prefix}-ca"] if ca else ""
        certificate, key = read[f"{prefix}-cert"], read[f"{prefix}-key"]
        if bool(certificate) != bool(key):
            given, missing = ("cert", "key") if certificate else ("key", "cert")
            raise self._wrong(f"{prefix}-{given}", f"needs --{prefix}-{missing}")
        return TLSFiles(authority, certificate, key) if authority or certificate else None

    def _check_streaming(self, read: Mapping[str, Any]) -> None:
        address = read["streaming-bind-addr"]
        host = address.rpartition(":")[0].strip("[]")
        if is_loopback(host) or read["streaming-tls-cert"]:
            return
        if not read["streaming-insecure"]:
            raise self._wrong(
                "streaming-bind-addr",
                "is reachable from other machines, and sessions there contain shells: expected a loopback address, or "
                "--streaming-tls-cert and --streaming-tls-key, or --streaming-insecure",
            )
        self._warn(f"exec, attach and port-forward are served on {address} without encryption")

    def _check_metrics(self, read: Mapping[str, Any]) -> None:
        address = read["metrics-bind-addr"]
        if not address:
            for name in ("metrics-tls-cert", "metrics-tls-ca"):
                if read[name]:
                    raise self._wrong(name, "needs --metrics-bind-addr")
            return
        if read["metrics-tls-ca"] and not read["metrics-tls-cert"]:
            raise self._wrong("metrics-tls-ca", "needs --metrics-tls-cert and --metrics-tls-key")
        if not is_loopback(address.rpartition(":")[0].strip("[]")) and not read["metrics-tls-cert"]:
            raise self._wrong(
                "metrics-bind-addr",
                "is reachable from other machines: expected a loopback address, or --metrics-tls-cert and "
                "--metrics-tls-key",
            )

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
