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
that cri-dockerd made, from the cache; what is in the configuration directory by then does not matter.

At start, attachments of sandboxes that are gone are torn down, processes of an ADD that we did not live to see
the end of are ended first, and networks of version 1.1.0 are asked to collect what belongs to nobody (GC).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from attrs import define, evolve, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from criwist.errors import CriwistError, PluginFailure
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import IPodNetwork, NetworkCondition, PodNetwork, PodNetworkRequest
from criwist.netconf.versions import has_check, has_collection
from criwist.network.attachment_request import guessed_entry, planned_entry
from criwist.network.attachments import INTERFACE, Attachments, Entry, entry_document, read_entry
from criwist.network.hostports import HostPorts
from criwist.network.netns_mounts import NetnsMounts
from criwist.network.plugin_chain import INQUIRY_TIME_LIMIT, PluginChain, PluginComplaint
from criwist.network.pod_cidrs import PodCIDRs
from criwist.network.readiness import LOOK_INTERVAL, Readiness
from criwist.network.teardown import LOOPBACK, Teardowns
from criwist.network.turns import Turns

#: Seconds that a status waits for the first look: as long as one plugin may take to tell its versions.
FIRST_LOOK_LIMIT = INQUIRY_TIME_LIMIT


@implementer(IPodNetwork)
@define(eq=False)
class CNINetwork(Service):
    """Pods on the network that a CNI configuration describes.  A service: it looks at the configuration as it runs.

    :param end_strays: ends processes that plugins left behind for these containers; returns when they are gone.
    :param host_ports: who holds which, also of other networks on this node.
    """

    name: str
    _readiness: Readiness
    _chains: PluginChain
    _attachments: Attachments
    _pod_cidrs: PodCIDRs
    _pins: NetnsMounts
    _clock: IReactorTime
    _end_strays: Callable[[set[str]], Coroutine[Any, Any, None]]
    docker_network_mode: str = field(default="none", init=False)
    publishes_ports: bool = field(default=False, init=False)
    _turns: Turns = field(factory=Turns, init=False)
    _teardowns: Teardowns = field(init=False)
    #: Sandboxes attached before we reconciled: whatever else is in the journal then is of an earlier life.
    _made_now: set[str] = field(factory=set, init=False)
    _reconciled: bool = field(default=False, init=False)
    #: The first look took too long for anybody to wait for it.
    _overdue: bool = field(default=False, init=False)
    _failed_checks: dict[str, str] = field(factory=dict, init=False)
    _last_error: str = field(default="", init=False)
    _journal_read: bool = field(default=False, init=False)
    _looking: LoopingCall | None = field(default=None, init=False)
    _host_ports: HostPorts = field(factory=HostPorts, kw_only=True)
    _log: Logger = field(factory=Logger, kw_only=True)

    def __attrs_post_init__(self) -> None:
        self._teardowns = Teardowns(
            self._chains,
            self._attachments,
            self._pins,
            self._host_ports,
            self._turns,
            self._clock,
            self._end_strays,
            log=self._log,
        )

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

    @property
    def undecided(self) -> bool:
        """The first look is under way, and not for long."""
        return not self._readiness.looked and not self._overdue

    async def first_look(self) -> None:
        """Wait for the look that the start began, up to :data:`FIRST_LOOK_LIMIT`.

        A kubelet that is told once that the network is not ready takes the node out of service.  So one that asks while
        a restarted criwist still asks plugins for their versions is to wait, not to be told so.
        """
        if not self.undecided:
            return
        looking = Deferred.fromCoroutine(self._readiness.look())
        try:
            await looking.addTimeout(FIRST_LOOK_LIMIT, self._clock)
        except TimeoutError:
            self._overdue = True
            self._log.warn("the first look at network {network} takes longer than a status can wait", network=self.name)

    def verbose(self) -> Mapping[str, Any]:
        """The configuration in force, where it is looked for, and what went wrong last."""
        standing = self._attachments.sandbox_ids()
        return {
            "plugin": self.name,
            "configuration": self._readiness.describe(),
            "plugin_directories": list(self._chains.directories),
            "cache_directory": self._attachments.cache_directory,
            "pod_cidrs": list(self._readiness.pod_cidrs),
            "last_error": self._last_error,
            "leftovers": self._teardowns.leftovers,
            "failed_checks": {one: self._failed_checks[one] for one in standing if one in self._failed_checks},
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
            loopback = all(self._chains.find(plugin.type) for plugin in LOOPBACK.plugins)
            in_force = self._readiness.require()
            entry = planned_entry(request, pause, in_force, self.pod_cidrs, loopback=loopback)
            await self._reserve(request)
            try:
                return await self._attach(entry)
            except Exception as problem:
                if isinstance(problem, CriwistError):
                    self._last_error = str(problem)
                reached = self._attachments.journaled(request.sandbox_id) or entry
                await self._teardowns.release_sooner_or_later(reached)
                raise

    async def _reserve(self, request: PodNetworkRequest) -> None:
        self._hold_journaled_ports()
        taken = self._host_ports.conflict(request.sandbox_id, request.port_mappings)
        if taken is not None and self._teardowns.abandoned(taken[1]):
            await self._teardowns.release_leftover(taken[1])
        self._host_ports.reserve(request.sandbox_id, request.port_mappings)

    async def _attach(self, entry: Entry) -> PodNetwork:
        if not self._reconciled:
            self._made_now.add(entry.sandbox_id)
        self._attachments.begin(entry)
        netns = self._pins.pin(entry.sandbox_id, entry.attachment.netns)
        entry = evolve(entry, attachment=evolve(entry.attachment, netns=netns))
        if entry.loopback:
            await self._chains.add(LOOPBACK, LOOPBACK.versions[0], entry.attachment)
        result = await self._chains.add(entry.network, entry.version, entry.attachment, partial(self._progress, entry))
        entry = evolve(entry, result=result)
        if not entry.addresses:
            raise PluginFailure(f"network {entry.network.name} gave sandbox {entry.sandbox_id} no address")
        self._attachments.stands(entry)
        return PodNetwork(entry.addresses, entry_document(entry))

    def _progress(self, entry: Entry, result: Mapping[str, Any]) -> None:
        """Keep what the next plugin is given: some release what they made only if DEL tells them the addresses."""
        self._attachments.progress(evolve(entry, partial=result))

    # -- teardown

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Run DEL from what is on record.

        :raises PluginFailure: a plugin failed; the attachment stays on record.
        """
        async with self._turns.take(request.sandbox_id):
            if self._teardowns.released(request.sandbox_id):
                return
            entry = self._recorded(request.sandbox_id, network)
            if entry is None:
                await self._release_unrecorded(request, pause)
                return
            try:
                await self._teardowns.release(entry, pause)
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

    async def _release_unrecorded(self, request: PodNetworkRequest, pause: JSONObject | None) -> None:
        """DEL by the configuration in force, for a pod that another shim may have attached without leaving a word.

        It is a guess; a plugin that fails on it must not keep the pod from being removed.
        """
        self._host_ports.release(request.sandbox_id)
        in_force = self._readiness.in_force
        if in_force is None:
            self._log.debug("sandbox {sandbox} has no network that is known", sandbox=request.sandbox_id)
            return
        try:
            await self._teardowns.release(guessed_entry(request, in_force, self.pod_cidrs), pause)
        except CriwistError as error:
            self._log.warn(
                "sandbox {sandbox} has no network on record, and the one in force does not release it: {error}",
                sandbox=request.sandbox_id,
                error=error,
            )

    # -- what a crash or a failing plugin left

    async def reconcile(self, known: Mapping[str, PodNetworkRequest]) -> None:
        """Release attachments of sandboxes that are not *known*, and what belongs to no attachment at all."""
        if self.running:
            await self._readiness.look()
        self._hold_journaled_ports()
        entries = {one: self._attachments.journaled(one) for one in self._attachments.sandbox_ids()}
        unfinished = {one for one, entry in entries.items() if entry is not None and entry.result is None}
        for sandbox_id in sorted(unfinished - self._made_now):
            async with self._turns.take(sandbox_id):  # or it could be the plugins of a teardown of now that are ended
                await self._end_strays({sandbox_id})
        for sandbox_id, request in known.items():
            if sandbox_id not in entries and self._attachments.cached(sandbox_id, None) is not None:
                self._host_ports.hold(sandbox_id, request.port_mappings)
        gone = [one for one in entries if one not in known and one not in self._made_now]
        self._reconciled = True
        self._made_now.clear()
        await DeferredList([Deferred.fromCoroutine(self._teardowns.release_leftover(one)) for one in gone])
        await self._collect(known)
        self._in_background(self._check([entry for one, entry in entries.items() if entry and one in known]))

    async def _look_and_retry(self) -> None:
        try:
            await self._readiness.look()
        except Exception:  # noqa: BLE001 - the next look must come, whatever this one met
            self._log.failure("looking at the configuration of network {network}", network=self.name)
        for sandbox_id in self._teardowns.due():
            self._in_background(self._teardowns.release_leftover(sandbox_id))

    async def _collect(self, known: Iterable[str]) -> None:
        """GC.  What belongs to a *known* sandbox stays, though we may have no word of its attachment."""
        in_force = self._readiness.in_force
        if in_force is None or in_force.network.disable_gc or not has_collection(in_force.version):
            return
        valid = sorted({*self._attachments.valid(in_force.network.name), *((one, INTERFACE) for one in known)})
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
                attachment = evolve(entry.attachment, netns=self._teardowns.namespace(entry, None))
                if not attachment.netns or self._attachments.journaled(entry.sandbox_id) is None:
                    continue
                try:
                    await self._chains.check(entry.network, entry.version, attachment, entry.result)
                except PluginComplaint as failure:
                    self._failed_checks[entry.sandbox_id] = str(failure)
                    self._log.warn(
                        "the network of sandbox {sandbox} is not as it was made: {failure}",
                        sandbox=entry.sandbox_id,
                        failure=failure,
                    )
                except PluginFailure as failure:
                    self._log.info(
                        "the network of sandbox {sandbox} cannot be checked: {failure}",
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
