"""Pod networks by CNI plugins.

Set-up of a pod:

1. The configuration in force is looked at once more; the pod's runtime arguments are computed from its request.
2. Its host ports are reserved, for portmap does not look whether they are taken.
3. The journal is told, durably, what is about to be attached where, and with which configuration, and the network
   namespace is pinned.
4. The plugins are run: ADD.  Their result is kept in the journal, in libcni's cache, and in the sandbox's record.

Whatever fails from 3 on is undone by DEL at once, with the result of the last plugin that succeeded.  If even that
fails, the journal still has the attachment, and DEL is tried again every minute until it succeeds.

Teardown takes configuration, arguments and result from the record, or else from the journal, or else, for a pod
that cri-dockerd made, from the cache; what is in the configuration directory by then does not matter.  A network
namespace that is gone in spite of its pin is passed as the empty path, with which DEL has to cope (CNI specification,
DEL).

At start, attachments of sandboxes that are gone are torn down, processes of an ADD that we did not live to see
the end of are ended first, and networks of version 1.1.0 are asked to collect what belongs to nobody (GC).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from attrs import define, evolve, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from criwist.errors import CriwistError, FailedPrecondition, PluginFailure
from criwist.interfaces import IPodNetwork, JSONObject, NetworkCondition, PodNetwork, PodNetworkRequest
from criwist.netconf.capabilities import IPS, IPS_ANNOTATION, MAC, MAC_ANNOTATION, capability_arguments
from criwist.netconf.invocations import Attachment
from criwist.netconf.lists import NetworkList, parse_list
from criwist.netconf.versions import has_check, has_collection, has_previous_result_on_delete
from criwist.network.attachments import INTERFACE, Attachments, Entry, entry_document, read_entry
from criwist.network.chains import PluginChains
from criwist.network.hostports import HostPorts
from criwist.network.pins import NamespacePins
from criwist.network.pod_cidrs import PodCIDRs
from criwist.network.readiness import LOOK_INTERVAL, Readiness
from criwist.network.turns import Turns

#: Seconds between attempts to release what could not be released.
RETRY_INTERVAL = 60.0
#: So many released sandboxes are remembered, to answer a repeated teardown without running every plugin once more.
_REMEMBERED = 1000

#: What brings up ``lo``.  The engine does so itself; where the plugin is installed it has its say, as under the older
#: shims, with the interface name that they passed.
_LOOPBACK = parse_list('{"cniVersion": "0.2.0", "name": "cni-loopback", "plugins": [{"type": "loopback"}]}')


@implementer(IPodNetwork)
@define(eq=False)
class CNINetwork(Service):
    """Pods on the network that a CNI configuration describes.  A service: it looks at the configuration as it runs.

    :param end_strays: ends processes that plugins left behind for these containers; returns when they are gone.
    """

    name: str
    _readiness: Readiness
    _chains: PluginChains
    _attachments: Attachments
    _pod_cidrs: PodCIDRs
    _pins: NamespacePins
    _clock: IReactorTime
    _end_strays: Callable[[set[str]], Coroutine[Any, Any, None]]
    docker_network_mode: str = field(default="none", init=False)
    publishes_ports: bool = field(default=False, init=False)
    _host_ports: HostPorts = field(factory=HostPorts, init=False)
    _turns: Turns = field(factory=Turns, init=False)
    #: Sandboxes attached in this life of ours: whatever else is in the journal is of an earlier one.
    _made_now: set[str] = field(factory=set, init=False)
    #: When to try again, by sandbox id.
    _leftovers: dict[str, float] = field(factory=dict, init=False)
    #: In the order of their release.
    _released: dict[str, None] = field(factory=dict, init=False)
    _failed_checks: dict[str, str] = field(factory=dict, init=False)
    _last_error: str = field(default="", init=False)
    _journal_read: bool = field(default=False, init=False)
    _looking: LoopingCall | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, kw_only=True)

    # -- the service

    def startService(self) -> None:
        """Begin to look at the configuration."""
        Service.startService(self)
        self._readiness.pod_cidrs = self._pod_cidrs.load()
        self._looking = LoopingCall(self._look_and_retry)
        self._looking.clock = self._clock
        self._looking.start(LOOK_INTERVAL).addErrback(
            lambda failure: self._log.failure("the network configuration is not looked at any longer", failure)
        )

    def stopService(self) -> None:
        """Look no longer.  What plugins are at is left to the journal."""
        Service.stopService(self)
        if self._looking is not None and self._looking.running:
            self._looking.stop()

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """Of the node, as known now."""
        return self._readiness.pod_cidrs

    def condition(self) -> NetworkCondition:
        """As of the last look."""
        return self._readiness.condition

    def verbose(self) -> Mapping[str, Any]:
        """The configuration in force, where it is looked for, and what went wrong last."""
        return {
            "plugin": self.name,
            "configuration": self._readiness.describe(),
            "plugin_directories": list(self._chains.directories),
            "cache_directory": self._attachments.cache_directory,
            "pod_cidrs": list(self._readiness.pod_cidrs),
            "last_error": self._last_error,
            "leftovers": sorted(self._leftovers),
            "failed_checks": dict(self._failed_checks),
        }

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        """Use the CIDR for pods from now on, and after a restart: kubelet tells it once.

        :raises InvalidArgument: it is not one CIDR, or one of each family.
        """
        self._readiness.pod_cidrs = self._pod_cidrs.save(pod_cidr)
        await self._readiness.look()

    # -- set-up

    async def set_up(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        """Run ADD.  Cancelling ends the plugin at work and undoes what was done.

        :raises Unavailable: no configuration is in force; the text is the condition's.
        :raises InvalidArgument: an annotation of the pod is malformed.
        :raises FailedPrecondition: a host port is taken, the network cannot do what an annotation asks for, or the
            pause is gone.
        :raises PluginFailure: a plugin failed.
        """
        await self._readiness.look()
        async with self._turns.take(request.sandbox_id):
            entry = self._plan(request, pause)
            await self._reserve(request)
            try:
                return await self._attach(entry)
            except Exception as problem:
                if isinstance(problem, CriwistError):
                    self._last_error = str(problem)
                await self._undo(self._attachments.journaled(request.sandbox_id) or entry)
                raise

    def _plan(self, request: PodNetworkRequest, pause: JSONObject) -> Entry:
        in_force = self._readiness.require()
        arguments = capability_arguments(request, self._readiness.pod_cidrs)
        self._demand_capabilities(in_force.network, arguments)
        netns = f"/proc/{(pause.get('State') or {}).get('Pid') or 0}/ns/net"
        inode = _inode(netns)
        if not inode:
            raise FailedPrecondition(f"the pause of sandbox {request.sandbox_id} has ended")
        attachment = Attachment(request.sandbox_id, netns, INTERFACE, _pod_arguments(request), arguments)
        loopback = all(self._chains.find(plugin.type) for plugin in _LOOPBACK.plugins)
        return Entry(in_force.network, in_force.version, attachment, inode, loopback=loopback)

    def _demand_capabilities(self, network: NetworkList, arguments: Mapping[str, Any]) -> None:
        """Refuse what would be ignored in silence, unless pods have always been used to that."""
        for capability, annotation in ((IPS, IPS_ANNOTATION), (MAC, MAC_ANNOTATION)):
            if capability in arguments and capability not in network.capabilities:
                raise FailedPrecondition(
                    f"annotation {annotation}: no plugin of network {network.name} has the capability {capability}"
                )
        for capability in ("portMappings", "bandwidth"):
            if capability in arguments and capability not in network.capabilities:
                self._log.warn(
                    "a pod asks for {capability}, and no plugin of network {network} has that capability",
                    capability=capability,
                    network=network.name,
                )

    async def _reserve(self, request: PodNetworkRequest) -> None:
        self._hold_journaled_ports()
        taken = self._host_ports.conflict(request.sandbox_id, request.port_mappings)
        if taken is not None and taken[1] in self._leftovers:
            await self._retry(taken[1])
        self._host_ports.reserve(request.sandbox_id, request.port_mappings)

    async def _attach(self, entry: Entry) -> PodNetwork:
        self._made_now.add(entry.sandbox_id)
        self._attachments.begin(entry)
        netns = self._pins.pin(entry.sandbox_id, entry.attachment.netns)
        entry = evolve(entry, attachment=evolve(entry.attachment, netns=netns))
        if entry.loopback:
            await self._chains.add(_LOOPBACK, _LOOPBACK.versions[0], entry.attachment)
        result = await self._chains.add(entry.network, entry.version, entry.attachment, partial(self._progress, entry))
        entry = evolve(entry, result=result)
        if not entry.addresses:
            raise PluginFailure(f"network {entry.network.name} gave sandbox {entry.sandbox_id} no address")
        self._attachments.stands(entry)
        return PodNetwork(entry.addresses, entry_document(entry))

    def _progress(self, entry: Entry, result: Mapping[str, Any]) -> None:
        """Keep what the next plugin is given: some release what they made only if DEL tells them the addresses."""
        self._attachments.progress(evolve(entry, partial=result))

    async def _undo(self, entry: Entry) -> None:
        try:
            await self._release(entry)
        except CriwistError as error:
            self._leave(entry.sandbox_id, error)

    # -- teardown

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Run DEL from what is on record.

        :raises PluginFailure: a plugin failed; the attachment stays on record.
        """
        async with self._turns.take(request.sandbox_id):
            if request.sandbox_id in self._released:
                return
            entry = self._recorded(request.sandbox_id, network)
            if entry is None:
                await self._release_unrecorded(request, pause)
                return
            try:
                await self._release(entry, pause)
            except CriwistError as error:
                self._last_error = str(error)
                raise

    def recall(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        """What the journal or the cache has of a sandbox that stands."""
        entry = self._recorded(request.sandbox_id, None)
        if entry is None or entry.result is None:
            return None
        return PodNetwork(entry.addresses, entry_document(entry))

    def _recorded(self, sandbox_id: str, network: PodNetwork | None) -> Entry | None:
        if network is not None and network.record:
            try:
                return read_entry(network.record)
            except ValueError as problem:
                self._log.error(
                    "the network in the record of sandbox {sandbox} cannot be used: {problem}",
                    sandbox=sandbox_id,
                    problem=problem,
                )
        in_force = self._readiness.in_force
        return self._attachments.journaled(sandbox_id) or self._attachments.cached(
            sandbox_id, in_force.network if in_force else None
        )

    async def _release(self, entry: Entry, pause: JSONObject | None = None) -> None:
        """DEL, and forget the attachment."""
        if entry.result is None:
            await self._end_strays({entry.sandbox_id})
        attachment = evolve(entry.attachment, netns=self._live_namespace(entry, pause))
        result = (entry.result or entry.partial) if has_previous_result_on_delete(entry.version) else None
        try:
            await self._chains.delete(entry.network, entry.version, attachment, result)
        except PluginFailure as failure:
            # Plugins older than the rule that DEL has to cope say so; the older shims let them.
            if attachment.netns or "no such file or directory" not in str(failure).lower():
                raise
            self._log.info("{failure}; its namespace is gone, this passes", failure=failure)
        if entry.loopback:
            await self._delete_loopback(attachment)
        self._pins.unpin(entry.sandbox_id)
        self._attachments.forget(entry)
        self._host_ports.release(entry.sandbox_id)
        self._made_now.discard(entry.sandbox_id)
        self._leftovers.pop(entry.sandbox_id, None)
        self._failed_checks.pop(entry.sandbox_id, None)
        self._released[entry.sandbox_id] = None
        while len(self._released) > _REMEMBERED:
            del self._released[next(iter(self._released))]

    async def _release_unrecorded(self, request: PodNetworkRequest, pause: JSONObject | None) -> None:
        """DEL by the configuration in force, for a pod that another shim may have attached without leaving a word.

        It is a guess; a plugin that fails on it must not keep the pod from being removed.
        """
        self._host_ports.release(request.sandbox_id)
        in_force = self._readiness.in_force
        if in_force is None:
            self._log.debug("sandbox {sandbox} has no network that is known", sandbox=request.sandbox_id)
            return
        arguments = capability_arguments(evolve(request, annotations={}), self._readiness.pod_cidrs)
        attachment = Attachment(request.sandbox_id, "", INTERFACE, _pod_arguments(request), arguments)
        entry = Entry(in_force.network, in_force.version, attachment)
        try:
            await self._release(entry, pause)
        except CriwistError as error:
            self._log.warn(
                "sandbox {sandbox} has no network on record, and the one in force does not release it: {error}",
                sandbox=request.sandbox_id,
                error=error,
            )

    def _live_namespace(self, entry: Entry, pause: JSONObject | None) -> str:
        """A path that leads to the pod's network namespace, ``""`` if it is gone.

        A namespace is known by its inode, since a pid, and so a path below /proc, may be somebody else's by now.  For
        a pod that another shim attached, the pause is believed.
        """
        state = (pause or {}).get("State") or {}
        of_pause = f"/proc/{state['Pid']}/ns/net" if state.get("Running") and state.get("Pid") else ""
        if not entry.netns_inode:
            return of_pause
        for path in (self._pins.path(entry.sandbox_id), entry.attachment.netns, of_pause):
            if path and _inode(path) == entry.netns_inode:
                return path
        return ""

    async def _delete_loopback(self, attachment: Attachment) -> None:
        """There is nothing to release on ``lo``: what goes wrong is for the log."""
        try:
            await self._chains.delete(_LOOPBACK, _LOOPBACK.versions[0], attachment, None)
        except PluginFailure as failure:
            self._log.debug("{failure}", failure=failure)

    # -- what a crash or a failing plugin left

    async def reconcile(self, known: Mapping[str, PodNetworkRequest]) -> None:
        """Release attachments of sandboxes that are not *known*, and what belongs to no attachment at all."""
        self._hold_journaled_ports()
        entries = {one: self._attachments.journaled(one) for one in self._attachments.sandbox_ids()}
        unfinished = {one for one, entry in entries.items() if entry is not None and entry.result is None}
        if unfinished - self._made_now:
            await self._end_strays(unfinished - self._made_now)
        for sandbox_id, request in known.items():
            if sandbox_id not in entries and self._attachments.cached(sandbox_id, None) is not None:
                self._host_ports.hold(sandbox_id, request.port_mappings)
        gone = [one for one in entries if one not in known and one not in self._made_now]
        for sandbox_id in gone:
            self._leftovers[sandbox_id] = 0.0
        await DeferredList([Deferred.fromCoroutine(self._retry(one)) for one in gone])
        await self._collect()
        self._in_background(self._check([entry for one, entry in entries.items() if entry and one in known]))

    async def _look_and_retry(self) -> None:
        try:
            await self._readiness.look()
        except Exception:  # noqa: BLE001 - the next look must come, whatever this one met
            self._log.failure("looking at the configuration of network {network}", network=self.name)
        now = self._clock.seconds()
        for sandbox_id in [one for one, due in self._leftovers.items() if due <= now]:
            self._in_background(self._retry(sandbox_id))

    async def _retry(self, sandbox_id: str) -> None:
        """Release what is left of a sandbox; if that fails, later."""
        async with self._turns.take(sandbox_id):
            if sandbox_id not in self._leftovers:
                return
            self._leftovers[sandbox_id] = self._clock.seconds() + RETRY_INTERVAL
            entry = self._attachments.journaled(sandbox_id)
            if entry is None:
                del self._leftovers[sandbox_id]
                return
            try:
                await self._release(entry)
            except CriwistError as error:
                self._leave(sandbox_id, error)
            else:
                self._log.info("released what was left of the network of sandbox {sandbox}", sandbox=sandbox_id)

    def _leave(self, sandbox_id: str, error: CriwistError) -> None:
        self._last_error = str(error)
        self._leftovers[sandbox_id] = self._clock.seconds() + RETRY_INTERVAL
        self._log.error(
            "the network of sandbox {sandbox} cannot be released, trying again in {seconds:g} s: {error}",
            sandbox=sandbox_id,
            seconds=RETRY_INTERVAL,
            error=error,
        )

    async def _collect(self) -> None:
        in_force = self._readiness.in_force
        if in_force is None or in_force.network.disable_gc or not has_collection(in_force.version):
            return
        valid = self._attachments.valid(in_force.network.name)
        try:
            await self._chains.collect(in_force.network, in_force.version, valid)
        except PluginFailure as failure:
            self._last_error = str(failure)
            self._log.error("leftovers on network {network}: {failure}", network=in_force.network.name, failure=failure)

    async def _check(self, entries: list[Entry]) -> None:
        """CHECK attachments that stand, one after the other; what is wrong is logged and shown, not acted on."""
        for entry in entries:
            if entry.result is None or entry.network.disable_check or not has_check(entry.version):
                continue
            async with self._turns.take(entry.sandbox_id):
                attachment = evolve(entry.attachment, netns=self._live_namespace(entry, None))
                if not attachment.netns or self._attachments.journaled(entry.sandbox_id) is None:
                    continue
                try:
                    await self._chains.check(entry.network, entry.version, attachment, entry.result)
                except PluginFailure as failure:
                    self._failed_checks[entry.sandbox_id] = str(failure)
                    self._log.warn(
                        "the network of sandbox {sandbox} is not as it was made: {failure}",
                        sandbox=entry.sandbox_id,
                        failure=failure,
                    )

    def _hold_journaled_ports(self) -> None:
        """Once, before the first reservation: what the pods of our last life hold."""
        if self._journal_read:
            return
        self._journal_read = True
        for sandbox_id in self._attachments.sandbox_ids():
            entry = self._attachments.journaled(sandbox_id)
            if entry is not None:
                self._host_ports.hold(sandbox_id, entry.port_mappings)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: self._log.failure("network {network}", failure, network=self.name)
        )


def _pod_arguments(request: PodNetworkRequest) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS, as all CRI runtimes pass them; plugins look pods up by them."""
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", request.namespace),
        ("K8S_POD_NAME", request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", request.sandbox_id),
        ("K8S_POD_UID", request.uid),
    )


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
