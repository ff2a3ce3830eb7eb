"""Releasing attachments: DEL, and the retries when it fails.

DEL runs with the configuration, arguments and result of the attachment's entry, in the pod's network namespace as long
as that exists.  For a namespace that is gone in spite of its bind mount, DEL gets the empty path, which plugins have
to accept (CNI specification, DEL).

After a failed set-up no RPC calls teardown again, because its caller got the error.  So criwist itself retries DEL,
every minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from criwist.errors import CriwistError, PluginFailure
from criwist.interfaces.engine import JSONObject
from criwist.locks import Locks
from criwist.netconf.invocations import Attachment
from criwist.netconf.lists import parse_list
from criwist.netconf.versions import has_previous_result_on_delete
from criwist.network.attachments import Attachments, Entry
from criwist.network.hostports import HostPorts
from criwist.network.netns_mounts import NetnsMounts
from criwist.network.plugin_chain import PluginChain

#: Seconds between two attempts to release an attachment.
RETRY_INTERVAL = 60.0
#: Number of released sandboxes that are remembered, so that a repeated teardown does not run every plugin again.
_REMEMBERED = 1000

#: Brings up ``lo``.  The engine does so itself; where the plugin is installed it runs too, as under the older shims,
#: with the interface name that they passed.
LOOPBACK = parse_list('{"cniVersion": "0.2.0", "name": "cni-loopback", "plugins": [{"type": "loopback"}]}')


@frozen
class _Leftover:
    """A failed release: the time of the next attempt, and the error."""

    due: float
    error: str


@define(eq=False, kw_only=True)
class Teardowns:
    """Releases attachments, under the lock of their sandbox.

    :param locks: one per sandbox id, shared with set-up.
    :param kill_stray_plugins: kills processes that plugins left behind for these containers; returns when they are
        gone.
    """

    _chain: PluginChain
    _attachments: Attachments
    _netns_mounts: NetnsMounts
    _host_ports: HostPorts
    _locks: Locks
    _clock: IReactorTime
    _kill_stray_plugins: Callable[[set[str]], Coroutine[Any, Any, None]]
    _leftovers: dict[str, _Leftover] = field(factory=dict, init=False)
    #: Sandbox ids, in the order of their release.
    _released: dict[str, None] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger)

    @property
    def leftovers(self) -> dict[str, str]:
        """Sandbox id to the error of its last release, for each sandbox that could not be released."""
        return {sandbox_id: leftover.error for sandbox_id, leftover in self._leftovers.items()}

    def abandoned(self, sandbox_id: str) -> bool:
        """Return whether no pod can use the sandbox's attachment: its set-up failed, or its namespace is gone.

        After a restart of the machine the namespaces of all earlier pods are gone, until kubelet has removed the pods.
        """
        if sandbox_id in self._leftovers:
            return True
        entry = self._attachments.find_in_journal(sandbox_id)
        return entry is not None and bool(entry.netns_inode) and not self.find_namespace(entry, None)

    def released(self, sandbox_id: str) -> bool:
        """Return whether this process released the sandbox, as far back as it remembers."""
        return sandbox_id in self._released

    def find_namespace(self, entry: Entry, pause: JSONObject | None) -> str:
        """Return a path of the pod's network namespace, ``""`` if it is gone.

        The inode identifies a namespace, since a pid, and so a path below /proc, may belong to another process by now.
        For a pod that another shim attached, the path of the pause is used without this check.
        """
        state = (pause or {}).get("State") or {}
        of_pause = f"/proc/{state['Pid']}/ns/net" if state.get("Running") and state.get("Pid") else ""
        if not entry.netns_inode:
            return of_pause
        for path in (self._netns_mounts.path(entry.sandbox_id), entry.attachment.netns, of_pause):
            if path and inode(path) == entry.netns_inode:
                return path
        return ""

    async def release(self, entry: Entry, pause: JSONObject | None = None) -> None:
        """Run DEL and remove the attachment from disk.  The caller holds the sandbox's lock.

        :raises CriwistError: it could not be released completely, and stays on record.
        """
        if entry.result is None:
            await self._kill_stray_plugins({entry.sandbox_id})
        attachment = evolve(entry.attachment, netns=self.find_namespace(entry, pause))
        result = (entry.result or entry.partial) if has_previous_result_on_delete(entry.version) else None
        await self._chain.delete(entry.network, entry.version, attachment, result)
        if entry.loopback:
            await self._delete_loopback(attachment)
        self._netns_mounts.unmount(entry.sandbox_id)
        self._attachments.remove(entry)
        self._host_ports.release(entry.sandbox_id)
        self._leftovers.pop(entry.sandbox_id, None)
        self._remember(entry.sandbox_id)

    async def release_with_retries(self, entry: Entry) -> None:
        """:meth:`release` now, or, if that fails, again every minute until it succeeds."""
        try:
            await self.release(entry)
        except CriwistError as error:
            self._schedule_retry(entry.sandbox_id, error)

    async def release_leftover(self, sandbox_id: str) -> None:
        """Release the journal's entry of a sandbox that no RPC will release; if that fails, retry later.

        Waits for the sandbox's lock.
        """
        async with self._locks.hold(sandbox_id):
            entry = self._attachments.find_in_journal(sandbox_id)
            if entry is None:
                self._leftovers.pop(sandbox_id, None)
                return
            await self.release_with_retries(entry)
            if sandbox_id not in self._leftovers:
                self._log.info("released the leftover network of sandbox {sandbox}", sandbox=sandbox_id)

    def take_due(self) -> list[str]:
        """Return the leftovers that are due for an attempt, and schedule the next attempt of each."""
        now = self._clock.seconds()
        due = [sandbox_id for sandbox_id, leftover in self._leftovers.items() if leftover.due <= now]
        for sandbox_id in due:
            self._leftovers[sandbox_id] = evolve(self._leftovers[sandbox_id], due=now + RETRY_INTERVAL)
        return due

    async def _delete_loopback(self, attachment: Attachment) -> None:
        """Run the loopback plugin's DEL.  ``lo`` has nothing to release, so a failure is only logged."""
        try:
            await self._chain.delete(LOOPBACK, LOOPBACK.versions[0], attachment, None)
        except PluginFailure as failure:
            self._log.debug("{failure}", failure=failure)

    def _schedule_retry(self, sandbox_id: str, error: CriwistError) -> None:
        self._leftovers[sandbox_id] = _Leftover(self._clock.seconds() + RETRY_INTERVAL, str(error))
        self._log.error(
            "the network of sandbox {sandbox} cannot be released, retrying in {seconds:g} s: {error}",
            sandbox=sandbox_id,
            seconds=RETRY_INTERVAL,
            error=error,
        )

    def _remember(self, sandbox_id: str) -> None:
        self._released[sandbox_id] = None
        while len(self._released) > _REMEMBERED:
            del self._released[next(iter(self._released))]


def inode(path: str) -> int:
    """Return the inode of the file at *path*, 0 if there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
