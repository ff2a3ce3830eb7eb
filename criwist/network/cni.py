"""Pod networks by CNI plugins.

Set-up of a pod:

1. The configuration is polled once more; the pod's runtime arguments are computed from its request.
2. Its host ports are reserved, since portmap does not check whether they are taken.
3. The journal records, durably, what is about to be attached where, and with which configuration.  The network
   namespace is bind-mounted.
4. The plugins run: ADD.  Their result is kept in the journal, in libcni's cache, and in the sandbox's record.

A failure from 3 on is undone by DEL at once, with the result of the last plugin that succeeded.  If DEL fails too, the
journal still has the attachment, and DEL is retried every minute until it succeeds.

Teardown takes configuration, arguments and result from the record, or else from the journal, or else, for a pod
that cri-dockerd made, from the cache.  The present content of the configuration directory makes no difference.

At start, the attachments of sandboxes that are gone are torn down, after the processes of an ADD that a crash
interrupted are killed.  Networks of version 1.1.0 collect resources that belong to no attachment (GC).
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
from criwist.locks import Locks
from criwist.netconf.versions import has_check, has_collection
from criwist.network.attachment_request import guessed_entry, planned_entry
from criwist.network.attachments import INTERFACE, Attachments, Entry, entry_document, read_entry
from criwist.network.hostports import HostPorts
from criwist.network.netns_mounts import NetnsMounts
from criwist.network.plugin_chain import INQUIRY_TIME_LIMIT, PluginChain, PluginReportedError
from criwist.network.pod_cidrs import PodCIDRs
from criwist.network.readiness import POLL_INTERVAL, Readiness
from criwist.network.teardown import LOOPBACK, Teardowns

#: Seconds that a status waits for the first poll: as long as one plugin may take for VERSION.
FIRST_POLL_LIMIT = INQUIRY_TIME_LIMIT


@implementer(IPodNetwork)
@define(eq=False, kw_only=True)
class CNINetwork(Service):
    """The network that a CNI configuration describes.  A service, which polls the configuration while it runs.

    :param kill_stray_plugins: kills processes that plugins left behind for these containers; returns when they are
        gone.
    :param host_ports: shared by all networks of this node.
    """

    name: str
    _readiness: Readiness
    _chain: PluginChain
    _attachments: Attachments
    _pod_cidrs: PodCIDRs
    _netns_mounts: NetnsMounts
    _clock: IReactorTime
    _kill_stray_plugins: Callable[[set[str]], Coroutine[Any, Any, None]]
    docker_network_mode: str = field(default="none", init=False)
    publishes_ports: bool = field(default=False, init=False)
    #: One pod runs one plugin chain at a time, different pods in parallel (CNI specification, "Lifecycle & Ordering").
    #: Not the core's locks: the core holds the sandbox's lock while it calls this network.
    _locks: Locks = field(factory=Locks, init=False)
    _teardowns: Teardowns = field(init=False)
    #: Sandboxes attached before reconciliation: all other entries in the journal are from before the start.
    _new_sandboxes: set[str] = field(factory=set, init=False)
    _reconciled: bool = field(default=False, init=False)
    _first_poll_timed_out: bool = field(default=False, init=False)
    _failed_checks: dict[str, str] = field(factory=dict, init=False)
    _last_error: str = field(default="", init=False)
    _ports_restored: bool = field(default=False, init=False)
    _polling: LoopingCall | None = field(default=None, init=False)
    _host_ports: HostPorts = field(factory=HostPorts)
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._teardowns = Teardowns(
            chain=self._chain,
            attachments=self._attachments,
            netns_mounts=self._netns_mounts,
            host_ports=self._host_ports,
            locks=self._locks,
            clock=self._clock,
            kill_stray_plugins=self._kill_stray_plugins,
            log=self._log,
        )

    # -- the service

    def startService(self) -> None:
        """Start polling the configuration."""
        Service.startService(self)
        self._readiness.pod_cidrs = self._pod_cidrs.load()
        self._polling = LoopingCall(self._poll_and_retry)
        self._polling.clock = self._clock
        self._polling.start(POLL_INTERVAL).addErrback(
            lambda failure: self._log.failure("polling of the network configuration has ended", failure)
        )

    def stopService(self) -> None:
        """Stop polling.  Plugins that run go on; the journal has their attachments."""
        Service.stopService(self)
        if self._polling is not None and self._polling.running:
            self._polling.stop()

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """The node's pod CIDRs as known now."""
        return self._readiness.pod_cidrs

    def condition(self) -> NetworkCondition:
        """Return the condition as of the last poll."""
        return self._readiness.condition

    @property
    def condition_pending(self) -> bool:
        """Whether the first poll still runs, within its time limit."""
        return not self._readiness.polled and not self._first_poll_timed_out

    async def wait_for_condition(self) -> None:
        """Wait for the first poll, up to :data:`FIRST_POLL_LIMIT`.

        A kubelet that once gets NetworkReady=false takes the node out of service.  So kubelet waits while a restarted
        criwist asks the plugins for their versions.
        """
        if not self.condition_pending:
            return
        poll = Deferred.fromCoroutine(self._readiness.poll())
        try:
            await poll.addTimeout(FIRST_POLL_LIMIT, self._clock)
        except TimeoutError:
            self._first_poll_timed_out = True
            self._log.warn("the first poll of network {network} takes longer than a status can wait", network=self.name)

    def verbose(self) -> Mapping[str, Any]:
        """Return the active configuration, the directories that are searched, and the last errors."""
        attached = self._attachments.sandbox_ids()
        return {
            "plugin": self.name,
            "configuration": self._readiness.describe(),
            "plugin_directories": list(self._chain.directories),
            "cache_directory": self._attachments.cache_directory,
            "pod_cidrs": list(self._readiness.pod_cidrs),
            "last_error": self._last_error,
            "leftovers": self._teardowns.leftovers,
            "failed_checks": {one: self._failed_checks[one] for one in attached if one in self._failed_checks},
        }

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        """Use the CIDR for new pods, and keep it for the next start: kubelet sends it once.

        :raises InvalidArgument: it is not one CIDR, or one of each family.
        """
        self._readiness.pod_cidrs = self._pod_cidrs.save(pod_cidr)
        await self._readiness.poll()

    # -- set-up

    async def set_up(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        """Run ADD.  Cancelling kills the running plugin and undoes the set-up.

        :raises Unavailable: no configuration is active; the text is the condition's.
        :raises InvalidArgument: an annotation of the pod is malformed.
        :raises FailedPrecondition: a host port is taken, the network does not support what an annotation asks for, or
            the pause is gone.
        :raises PluginFailure: a plugin failed.
        """
        await self._readiness.poll()
        async with self._locks.hold(request.sandbox_id):
            loopback = all(self._chain.find(plugin.type) for plugin in LOOPBACK.plugins)
            active = self._readiness.require()
            entry = planned_entry(request, pause, active, self.pod_cidrs, loopback=loopback)
            await self._reserve_host_ports(request)
            try:
                return await self._attach(entry)
            except Exception as problem:
                if isinstance(problem, CriwistError):
                    self._last_error = str(problem)
                reached = self._attachments.find_in_journal(request.sandbox_id) or entry
                await self._teardowns.release_with_retries(reached)
                raise

    async def _reserve_host_ports(self, request: PodNetworkRequest) -> None:
        self._restore_host_ports()
        conflict = self._host_ports.conflict(request.sandbox_id, request.port_mappings)
        if conflict is not None and self._teardowns.abandoned(conflict[1]):
            await self._teardowns.release_leftover(conflict[1])
        self._host_ports.reserve(request.sandbox_id, request.port_mappings)

    async def _attach(self, entry: Entry) -> PodNetwork:
        if not self._reconciled:
            self._new_sandboxes.add(entry.sandbox_id)
        self._attachments.begin(entry)
        netns = self._netns_mounts.mount(entry.sandbox_id, entry.attachment.netns)
        entry = evolve(entry, attachment=evolve(entry.attachment, netns=netns))
        if entry.loopback:
            await self._chain.add(LOOPBACK, LOOPBACK.versions[0], entry.attachment)
        progress = partial(self._record_partial_result, entry)
        result = await self._chain.add(entry.network, entry.version, entry.attachment, progress)
        entry = evolve(entry, result=result)
        if not entry.addresses:
            raise PluginFailure(f"network {entry.network.name} gave sandbox {entry.sandbox_id} no address")
        self._attachments.complete(entry)
        return PodNetwork(entry.addresses, entry_document(entry))

    def _record_partial_result(self, entry: Entry, result: Mapping[str, Any]) -> None:
        """Record the next plugin's input: some plugins release resources only if DEL passes the addresses."""
        self._attachments.update(evolve(entry, partial=result))

    # -- teardown

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Run DEL with the recorded configuration, arguments and result.

        :raises PluginFailure: a plugin failed; the attachment stays on record.
        """
        async with self._locks.hold(request.sandbox_id):
            if self._teardowns.released(request.sandbox_id):
                return
            entry = self._find_entry(request.sandbox_id, network)
            if entry is None:
                await self._release_unrecorded(request, pause)
                return
            try:
                await self._teardowns.release(entry, pause)
            except CriwistError as error:
                self._last_error = str(error)
                raise

    def recall(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        """Return the complete attachment of a sandbox from the journal or the cache."""
        entry = self._find_entry(request.sandbox_id, None)
        if entry is None or entry.result is None:
            return None
        return PodNetwork(entry.addresses, entry_document(entry))

    def _find_entry(self, sandbox_id: str, network: PodNetwork | None) -> Entry | None:
        if network is not None and network.record:
            try:
                return read_entry(network.record)
            except ValueError as problem:
                self._log.error(
                    "the network in the record of sandbox {sandbox} cannot be used: {problem}",
                    sandbox=sandbox_id,
                    problem=problem,
                )
        active = self._readiness.active
        return self._attachments.find_in_journal(sandbox_id) or self._attachments.find_in_cache(
            sandbox_id, active.network if active else None
        )

    async def _release_unrecorded(self, request: PodNetworkRequest, pause: JSONObject | None) -> None:
        """Run DEL by the active configuration, for a pod that another shim may have attached without a record.

        The configuration is a guess, so a plugin that fails must not prevent the removal of the pod.
        """
        self._host_ports.release(request.sandbox_id)
        active = self._readiness.active
        if active is None:
            self._log.debug("sandbox {sandbox} has no known network", sandbox=request.sandbox_id)
            return
        try:
            await self._teardowns.release(guessed_entry(request, active, self.pod_cidrs), pause)
        except CriwistError as error:
            self._log.warn(
                "sandbox {sandbox} has no network on record, and the active configuration does not release it: {error}",
                sandbox=request.sandbox_id,
                error=error,
            )

    # -- leftovers of a crash or of a failing plugin

    async def reconcile(self, known: Mapping[str, PodNetworkRequest]) -> None:
        """Release attachments of sandboxes that are not *known*, and resources that belong to no attachment."""
        if self.running:
            await self._readiness.poll()
        self._restore_host_ports()
        entries = {one: self._attachments.find_in_journal(one) for one in self._attachments.sandbox_ids()}
        unfinished = {one for one, entry in entries.items() if entry is not None and entry.result is None}
        for sandbox_id in sorted(unfinished - self._new_sandboxes):
            async with self._locks.hold(sandbox_id):  # without it, the plugins of a present teardown could be killed
                await self._kill_stray_plugins({sandbox_id})
        for sandbox_id, request in known.items():
            if sandbox_id not in entries and self._attachments.find_in_cache(sandbox_id, None) is not None:
                self._host_ports.hold(sandbox_id, request.port_mappings)
        gone = [one for one in entries if one not in known and one not in self._new_sandboxes]
        self._reconciled = True
        self._new_sandboxes.clear()
        await DeferredList([Deferred.fromCoroutine(self._teardowns.release_leftover(one)) for one in gone])
        await self._collect_garbage(known)
        self._in_background(self._check([entry for one, entry in entries.items() if entry and one in known]))

    async def _poll_and_retry(self) -> None:
        try:
            await self._readiness.poll()
        except Exception:  # noqa: BLE001 - no failure of one poll may end polling
            self._log.failure("polling the configuration of network {network} failed", network=self.name)
        for sandbox_id in self._teardowns.take_due():
            self._in_background(self._teardowns.release_leftover(sandbox_id))

    async def _collect_garbage(self, known: Iterable[str]) -> None:
        """Run GC.  Resources of a *known* sandbox stay, even if its attachment is not on record."""
        active = self._readiness.active
        if active is None or active.network.disable_gc or not has_collection(active.version):
            return
        name = active.network.name
        valid = sorted({*self._attachments.valid_attachments(name), *((one, INTERFACE) for one in known)})
        try:
            await self._chain.collect(active.network, active.version, valid)
        except PluginFailure as failure:
            self._last_error = str(failure)
            self._log.error("leftovers on network {network}: {failure}", network=name, failure=failure)

    async def _check(self, entries: list[Entry]) -> None:
        """CHECK complete attachments, one after the other.  A failed check is logged and shown, nothing more."""
        for entry in entries:
            if entry.result is None or entry.network.disable_check or not has_check(entry.version):
                continue
            async with self._locks.hold(entry.sandbox_id):
                attachment = evolve(entry.attachment, netns=self._teardowns.find_namespace(entry, None))
                if not attachment.netns or self._attachments.find_in_journal(entry.sandbox_id) is None:
                    continue
                try:
                    await self._chain.check(entry.network, entry.version, attachment, entry.result)
                except PluginReportedError as failure:
                    self._failed_checks[entry.sandbox_id] = str(failure)
                    self._log.warn(
                        "the network of sandbox {sandbox} is not as ADD left it: {failure}",
                        sandbox=entry.sandbox_id,
                        failure=failure,
                    )
                except PluginFailure as failure:
                    self._log.info(
                        "the network of sandbox {sandbox} cannot be checked: {failure}",
                        sandbox=entry.sandbox_id,
                        failure=failure,
                    )

    def _restore_host_ports(self) -> None:
        """Reserve the host ports of the journal's entries; once, before the first new reservation."""
        if self._ports_restored:
            return
        self._ports_restored = True
        for sandbox_id in self._attachments.sandbox_ids():
            entry = self._attachments.find_in_journal(sandbox_id)
            if entry is not None:
                self._host_ports.hold(sandbox_id, entry.port_mappings)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: self._log.failure("background work of network {network} failed", failure, network=self.name)
        )
