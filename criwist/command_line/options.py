"""The command line of ``twistd criwist``, read into a :class:`~criwist.config.Config`.

``option_table`` has the options, ``go_flags`` reads the line as users of Go programs write it, ``option_values`` and
``option_addresses`` read the values.  Here they are put together, with the environment, and with what values have to
do with each other.  Options of klog, which unit files of older shims are full of, are taken and warned of.

A wrong value is a usage error that names the option as it was written, the value, and what is expected.
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

    :param environment: where DOCKER_HOST and its like are looked up.
    :ivar warnings: after parsing: sentences about what was taken and does nothing, or is unwise.  To be logged.
    """

    synopsis = "[options]"
    longdesc = (
        "Serve the Kubernetes CRI for Docker Engine. Options of dockershim and cri-dockerd are understood; "
        "those of klog are taken, and do nothing but --v."
    )
    optParameters = [[option.name, None, option.default or None, option.doc] for option in OPTIONS]

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        usage.Options.__init__(self)
        self._environment = environment
        #: Options as they were written, by name.
        self._spelled: dict[str, str] = {}
        self.warnings: list[str] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read a command line, by default this process's.

        :raises UsageError: it is wrong.
        """
        try:
            line = read_flags(sys.argv[1:] if options is None else options, _flags())
        except FlagError as error:
            raise usage.UsageError(str(error)) from None
        usage.Options.parseOptions(self, self._arguments(line))

    def parseArgs(self, *arguments: str) -> None:
        """There are options only."""
        if arguments:
            raise usage.UsageError(f"unexpected argument {arguments[0]!r}: values of true-or-false options follow '='")

    def postOptions(self) -> None:
        """Find wrong values now, while twistd still shows them as usage errors."""
        self.config()

    def opt_version(self) -> NoReturn:
        """Print criwist's version and exit."""
        print(f"criwist {__version__}")
        sys.exit(0)

    def opt_buildinfo(self) -> NoReturn:
        """Print the versions of criwist and of what it runs on, and exit."""
        print(f"criwist {__version__}\nPython {platform.python_version()} {sys.executable}")
        for name in ("twisted", "grpcio", "protobuf", "treq"):
            print(f"{name} {metadata.version(name)}")
        sys.exit(0)

    def config(self) -> Config:
        """The effective configuration.

        :raises UsageError: a value is wrong, or does not go with another.
        """
        read = {option.name: self._read(option) for option in OPTIONS}
        members = {option.member: read[option.name] for option in OPTIONS if option.member}
        endpoint, tls = self._engine(read)
        self._check_streaming(read)
        if not read["container-log-driver"]:
            for name in ("container-log-max-size", "container-log-max-files"):
                if read[name]:
                    raise self._wrong(name, "needs --container-log-driver, for the daemon's own may not know it")
        if not read["ipv6-dual-stack"]:
            self._warn("--ipv6-dual-stack=false does nothing: pods have all addresses that their network gives")
        return Config(
            **members,
            docker_endpoint=endpoint,
            docker_tls=tls,
            streaming_tls=self._tls("streaming-tls", read, ca=False),
            log_level=read["log-level"] if "log-level" in self._spelled else read["v"] or read["log-level"],
        )

    def _arguments(self, line: CommandLine) -> list[str]:
        """The command line in getopt's words, with the last value of each option."""
        known = {option.name: option for option in OPTIONS}
        chosen: dict[str, str] = {}
        for given in line.given:
            if given.name in KLOG:
                self.warnings.append(
                    f"{given.spelled} does nothing: criwist logs where twistd does, see twistd's --logfile and --syslog"
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
        """The value as it was written; the default, or ``""``, if it was not."""
        return self[name] or ""

    def _engine(self, read: Mapping[str, Any]) -> tuple[str, TLSFiles | None]:
        """The engine's address and the TLS files for it, from options, else from the environment."""
        tls = self._tls("docker-tls", read, ca=True)
        address, what = self._text("docker-endpoint"), self._spelled.get("docker-endpoint", "--docker-endpoint")
        if not address:
            address, what = self._environment.get("DOCKER_HOST", ""), "DOCKER_HOST"
            if address.startswith("tcp://") and tls is None:
                tls = self._environment_tls()
        address = address or _ENGINE_SOCKET
        try:
            endpoint = engine_endpoint(address, tls=tls is not None)
        except ValueError as error:
            raise usage.UsageError(f"{what}={address!r}: {error}") from None
        over_network = endpoint.startswith("tcp://")
        if tls is not None and not over_network:
            raise self._wrong("docker-tls-ca", "needs a tcp:// engine, which it is to authenticate")
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
            raise self._wrong(f"{prefix}-{given}", f"needs --{prefix}-{missing} beside it")
        return TLSFiles(authority, certificate, key) if authority or certificate else None

    def _check_streaming(self, read: Mapping[str, Any]) -> None:
        address = read["streaming-bind-addr"]
        host = address.rpartition(":")[0].strip("[]")
        if is_loopback(host) or read["streaming-tls-cert"]:
            return
        if not read["streaming-insecure"]:
            raise self._wrong(
                "streaming-bind-addr",
                "can be reached from elsewhere, and what passes there is a shell's: expected a loopback address, or "
                "--streaming-tls-cert and --streaming-tls-key, or --streaming-insecure",
            )
        self._warn(f"exec, attach and port-forward are served on {address} without encryption")

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
