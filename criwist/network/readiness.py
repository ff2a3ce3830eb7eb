"""Which network configuration is in force, and whether pods can get a network by it.

The source is looked at every two seconds: names, sizes and times of a few files, which costs less than a watch that
the system may refuse ("too many open files" is what inotify says on a busy node), and sees changes on any file
system.  A set-up looks as well before it begins, so a pod never gets a configuration that was replaced before it
came.

In force is the first valid list.  It is run as the newest version of the specification that it offers and that all
its plugins support, which each is asked once, and again when its file changes.  A list whose plugins are missing
stays in force and is not ready: while an operator's network is being installed, the next list in the directory is
not what the pods are meant to be on.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.errors import PluginFailure, Unavailable
from criwist.interfaces.network import NetworkCondition
from criwist.netconf.capabilities import IP_RANGES
from criwist.netconf.lists import Choice, NetworkList
from criwist.netconf.versions import has_status
from criwist.network.plugin_chain import PluginChain
from criwist.network.sources import ConfigurationSource

#: Seconds between looks.
LOOK_INTERVAL = 2.0
#: Seconds between two STATUS calls, each of which runs all plugins of the list.
STATUS_INTERVAL = 10.0
#: The word that kubelet and its users know from the older shims.
NOT_READY = "NetworkPluginNotReady"


@frozen
class InForce:
    """A list, and the version of the specification it is run as."""

    network: NetworkList
    version: str


@define(eq=False)
class Readiness:
    """What :meth:`look` found last."""

    _source: ConfigurationSource
    _chains: PluginChain
    _clock: IReactorTime
    #: Of the node; for lists that want ``ipRanges``.
    pod_cidrs: tuple[str, ...] = ()
    #: None unless a list is valid and its plugins can run it; STATUS has no say in this.
    in_force: InForce | None = field(default=None, init=False)
    condition: NetworkCondition = field(
        default=NetworkCondition(False, NOT_READY, "plugins are being asked whether they can serve"), init=False
    )
    #: At least one look was finished.
    looked: bool = field(default=False, init=False)
    _choice: Choice = field(default=Choice(None, {}), init=False)
    _signature: Hashable = field(default=None, init=False)
    #: By plugin: which file was asked, and which versions it supports.
    _versions: dict[str, tuple[Hashable, tuple[str, ...]]] = field(factory=dict, init=False)
    _status_failure: str = field(default="", init=False)
    _status_of: InForce | None = field(default=None, init=False)
    _status_at: float = field(default=0.0, init=False)
    #: Calls of :meth:`look`, and how many of them have been answered.
    _calls: int = field(default=0, init=False)
    _answered: int = field(default=0, init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    _log: Logger = field(factory=Logger, kw_only=True)

    async def look(self) -> None:
        """Look at the source and the plugins, and remember what was found.  Never raises for what it finds.

        Returns after a look that began after the call.  Those who call while one is at work share the next: it may
        be a plugin that hangs that each of a hundred pods waits for.
        """
        self._calls += 1
        call = self._calls
        await self._lock.acquire()
        try:
            if self._answered < call:
                answers = self._calls
                await self._look()
                self._answered = answers
                self.looked = True
        finally:
            self._lock.release()

    def require(self) -> InForce:
        """What is in force.

        :raises Unavailable: nothing is; the text is the condition's.
        """
        if self.in_force is None:
            raise Unavailable(f"pods cannot get a network: {self.condition.message}")
        return self.in_force

    def describe(self) -> dict[str, Any]:
        """For a verbose status."""
        described: dict[str, Any] = {"ready": self.condition.ready, "message": self.condition.message}
        network = self._choice.chosen
        if network is not None:
            described |= {
                "source": network.source,
                "network": network.name,
                "version": self.in_force.version if self.in_force else "",
                "plugins": [plugin.type for plugin in network.plugins],
            }
        if self._choice.problems:
            described["passed_over"] = dict(self._choice.problems)
        return described

    async def _look(self) -> None:
        signature = self._source.signature()
        if signature != self._signature:
            self._signature = signature
            self._choice = self._source.read()
            for name, problem in self._choice.problems.items():
                self._log.warn("network configuration {file} is passed over: {problem}", file=name, problem=problem)
        try:
            in_force = await self._select()
        except PluginFailure as failure:
            self.in_force = None
            self._conclude(str(failure))
        else:
            self.in_force = in_force
            self._conclude(await self._status_problem(in_force))

    async def _select(self) -> InForce:
        network = self._choice.chosen
        if network is None:
            passed = "; ".join(f"{name}: {problem}" for name, problem in self._choice.problems.items())
            raise PluginFailure(self._source.missing() + (f"; passed over: {passed}" if passed else ""))
        for plugin in network.plugins:
            for executable in plugin.executables:
                if self._chains.find(executable) is None:
                    raise PluginFailure(
                        f"CNI plugin {executable} of network {network.name} ({network.source}) not found in "
                        f"{', '.join(self._chains.directories)}"
                    )
        version = await self._common_version(network)
        if IP_RANGES in network.capabilities and not self.pod_cidrs:
            raise PluginFailure(
                f"network {network.name} ({network.source}) takes its ranges from the node's pod CIDR, and none is "
                "known: neither --pod-cidr nor kubelet (UpdateRuntimeConfig) gave one yet"
            )
        return InForce(network, version)

    async def _common_version(self, network: NetworkList) -> str:
        supported = await self._supported(list(dict.fromkeys(plugin.type for plugin in network.plugins)))
        for version in network.versions:
            if all(version in versions for versions in supported.values()):
                return version
        told = "; ".join(f"{name}: {', '.join(versions)}" for name, versions in supported.items())
        wanted = " or ".join(network.versions)
        raise PluginFailure(
            f"network {network.name} ({network.source}) is of CNI version {wanted}, which not all its plugins "
            f"support ({told})"
        )

    async def _supported(self, executables: list[str]) -> dict[str, tuple[str, ...]]:
        """What each supports; all are asked at once.  Raises what the first that fails, in their order, says."""
        asking = [Deferred.fromCoroutine(self._versions_of(one)) for one in executables]
        answers: list[Any] = [answer for _, answer in await DeferredList(asking, consumeErrors=True)]
        for answer in answers:
            if isinstance(answer, Failure):
                answer.raiseException()
        return dict(zip(executables, answers, strict=True))

    async def _versions_of(self, executable: str) -> tuple[str, ...]:
        """What a plugin supports: asked once, and again when its file is another."""
        path = self._chains.find(executable) or ""
        try:
            status = os.stat(path)
        except OSError as problem:
            raise PluginFailure(f"CNI plugin {executable} has just gone from {path}") from problem
        identity = (path, status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._versions.get(executable)
        if known is None or known[0] != identity:
            known = self._versions[executable] = (identity, await self._chains.versions(executable))
        return known[1]

    async def _status_problem(self, in_force: InForce) -> str:
        """What STATUS says, asked anew if its last answer is old; ``""``: all is well, or there is no STATUS yet."""
        if not has_status(in_force.version):
            return ""
        now = self._clock.seconds()
        if self._status_of != in_force or now - self._status_at >= STATUS_INTERVAL:
            self._status_of, self._status_at = in_force, now
            try:
                await self._chains.status(in_force.network, in_force.version)
            except PluginFailure as failure:
                self._status_failure = str(failure)
            else:
                self._status_failure = ""
        return self._status_failure

    def _conclude(self, problem: str) -> None:
        condition = NetworkCondition(False, NOT_READY, problem) if problem else NetworkCondition(True)
        if condition == self.condition:
            return
        self.condition = condition
        if problem:
            self._log.warn("pods cannot get a network: {problem}", problem=problem)
        elif self.in_force is not None:
            network = self.in_force.network
            self._log.info(
                "pods get network {network} ({source}), CNI version {version}, plugins {plugins}",
                network=network.name,
                source=network.source,
                version=self.in_force.version,
                plugins=", ".join(plugin.type for plugin in network.plugins),
            )
