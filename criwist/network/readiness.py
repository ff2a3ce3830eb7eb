"""Which network configuration is active, and whether pods can get a network from it.

The source is polled every two seconds: names, sizes and times of a few files.  That costs less than inotify, which
the system may refuse on a busy node ("too many open files"), and finds changes on every file system.  A set-up polls
too before it begins, so a pod never gets a configuration that was replaced before its request.

The first valid list is active.  It runs as the newest version of the specification that it offers and that all its
plugins support.  Each plugin is asked for its versions once, and again when its file changes.  A list whose plugins
are missing stays active, and the node is not ready: while an operator's network is being installed, pods must not get
the next list in the directory.
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
from criwist.network.configuration_sources import ConfigurationSource
from criwist.network.plugin_chain import PluginChain

#: Seconds between polls.
POLL_INTERVAL = 2.0
#: Seconds between two STATUS calls, each of which runs all plugins of the list.
STATUS_INTERVAL = 10.0
#: The reason that kubelet and its users know from the older shims.
NOT_READY = "NetworkPluginNotReady"


@frozen
class ActiveConfiguration:
    """A list, and the version of the specification it is run as."""

    network: NetworkList
    version: str


@define(eq=False)
class Readiness:
    """The active configuration and the network condition, as of the last :meth:`poll`."""

    _source: ConfigurationSource
    _chain: PluginChain
    _clock: IReactorTime
    #: The node's pod CIDRs, for lists that declare ``ipRanges``.
    pod_cidrs: tuple[str, ...] = ()
    #: None unless a list is valid and its plugins can run it; the result of STATUS makes no difference.
    active: ActiveConfiguration | None = field(default=None, init=False)
    condition: NetworkCondition = field(
        default=NetworkCondition(False, NOT_READY, "plugins are being asked whether they can serve"), init=False
    )
    #: At least one poll has finished.
    polled: bool = field(default=False, init=False)
    _choice: Choice = field(default=Choice(None, {}), init=False)
    _signature: Hashable = field(default=None, init=False)
    #: Plugin to the identity of its file when it was asked, and the versions that it supports.
    _versions: dict[str, tuple[Hashable, tuple[str, ...]]] = field(factory=dict, init=False)
    #: The result of the last STATUS, the configuration that it was about, and its time.
    _status_failure: str = field(default="", init=False)
    _status_configuration: ActiveConfiguration | None = field(default=None, init=False)
    _status_time: float = field(default=0.0, init=False)
    #: Number of calls of :meth:`poll`, and how many of them a finished poll has served.
    _requested: int = field(default=0, init=False)
    _served: int = field(default=0, init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    _log: Logger = field(factory=Logger, kw_only=True)

    async def poll(self) -> None:
        """Read the source, ask the plugins, and keep the result.  Never raises for what it finds.

        Returns after a poll that began after the call.  All calls that come while a poll runs share the next one, so
        that a hundred pods do not wait for a plugin that hangs one after the other.
        """
        self._requested += 1
        request = self._requested
        await self._lock.acquire()
        try:
            if self._served < request:
                requested = self._requested
                await self._poll()
                self._served = requested
                self.polled = True
        finally:
            self._lock.release()

    def require(self) -> ActiveConfiguration:
        """Return the active configuration.

        :raises Unavailable: there is none; the text is the condition's.
        """
        if self.active is None:
            raise Unavailable(f"pods cannot get a network: {self.condition.message}")
        return self.active

    def describe(self) -> dict[str, Any]:
        """Return what a verbose status shows; JSON-able."""
        described: dict[str, Any] = {"ready": self.condition.ready, "message": self.condition.message}
        network = self._choice.chosen
        if network is not None:
            described |= {
                "source": network.source,
                "network": network.name,
                "version": self.active.version if self.active else "",
                "plugins": [plugin.type for plugin in network.plugins],
            }
        if self._choice.problems:
            described["passed_over"] = dict(self._choice.problems)
        return described

    async def _poll(self) -> None:
        signature = self._source.signature()
        if signature != self._signature:
            self._signature = signature
            self._choice = self._source.read()
            for name, problem in self._choice.problems.items():
                self._log.warn("network configuration {file} is skipped: {problem}", file=name, problem=problem)
        try:
            active = await self._select()
        except PluginFailure as failure:
            self.active = None
            self._set_condition(str(failure))
        else:
            self.active = active
            self._set_condition(await self._status_problem(active))

    async def _select(self) -> ActiveConfiguration:
        network = self._choice.chosen
        if network is None:
            skipped = "; ".join(f"{name}: {problem}" for name, problem in self._choice.problems.items())
            raise PluginFailure(self._source.missing() + (f"; skipped: {skipped}" if skipped else ""))
        for plugin in network.plugins:
            for executable in plugin.executables:
                if self._chain.find(executable) is None:
                    raise PluginFailure(
                        f"CNI plugin {executable} of network {network.name} ({network.source}) not found in "
                        f"{', '.join(self._chain.directories)}"
                    )
        version = await self._common_version(network)
        if IP_RANGES in network.capabilities and not self.pod_cidrs:
            raise PluginFailure(
                f"network {network.name} ({network.source}) takes its ranges from the node's pod CIDR, and none is "
                "known: neither --pod-cidr nor kubelet (UpdateRuntimeConfig) gave one yet"
            )
        return ActiveConfiguration(network, version)

    async def _common_version(self, network: NetworkList) -> str:
        supported = await self._supported(list(dict.fromkeys(plugin.type for plugin in network.plugins)))
        for version in network.versions:
            if all(version in versions for versions in supported.values()):
                return version
        listed = "; ".join(f"{name}: {', '.join(versions)}" for name, versions in supported.items())
        wanted = " or ".join(network.versions)
        raise PluginFailure(
            f"network {network.name} ({network.source}) is of CNI version {wanted}, which not all its plugins "
            f"support ({listed})"
        )

    async def _supported(self, executables: list[str]) -> dict[str, tuple[str, ...]]:
        """Ask all plugins at once for their versions.  If any fails, raise the first failure in the list's order."""
        calls = [Deferred.fromCoroutine(self._versions_of(executable)) for executable in executables]
        results: list[Any] = [result for _, result in await DeferredList(calls, consumeErrors=True)]
        for result in results:
            if isinstance(result, Failure):
                result.raiseException()
        return dict(zip(executables, results, strict=True))

    async def _versions_of(self, executable: str) -> tuple[str, ...]:
        """Return the versions that a plugin supports; run it only if its file is new or has changed."""
        path = self._chain.find(executable) or ""
        try:
            status = os.stat(path)
        except OSError as problem:
            raise PluginFailure(f"CNI plugin {executable} has just been removed from {path}") from problem
        identity = (path, status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._versions.get(executable)
        if known is None or known[0] != identity:
            known = self._versions[executable] = (identity, await self._chain.versions(executable))
        return known[1]

    async def _status_problem(self, active: ActiveConfiguration) -> str:
        """Return the failure of STATUS, called again if its last result is old.

        ``""``: the plugins can serve, or the version has no STATUS.
        """
        if not has_status(active.version):
            return ""
        now = self._clock.seconds()
        if self._status_configuration != active or now - self._status_time >= STATUS_INTERVAL:
            self._status_configuration, self._status_time = active, now
            try:
                await self._chain.status(active.network, active.version)
            except PluginFailure as failure:
                self._status_failure = str(failure)
            else:
                self._status_failure = ""
        return self._status_failure

    def _set_condition(self, problem: str) -> None:
        condition = NetworkCondition(False, NOT_READY, problem) if problem else NetworkCondition(True)
        if condition == self.condition:
            return
        self.condition = condition
        if problem:
            self._log.warn("pods cannot get a network: {problem}", problem=problem)
        elif self.active is not None:
            network = self.active.network
            self._log.info(
                "pods get network {network} ({source}), CNI version {version}, plugins {plugins}",
                network=network.name,
                source=network.source,
                version=self.active.version,
                plugins=", ".join(plugin.type for plugin in network.plugins),
            )
