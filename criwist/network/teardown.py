"""Releasing attachments: DEL, what to do when it fails, and what is remembered of it.

DEL is run with the configuration, arguments and result of the attachment's entry, in the pod's network namespace for
as long as that exists.  A namespace that is gone in spite of its pin is passed as the empty path, with which DEL has
to cope (CNI specification, DEL).

Where nobody is there to try again, since the set-up that failed has told its caller so, we do, every minute.
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
from criwist.netconf.invocations import Attachment
from criwist.netconf.lists import parse_list
from criwist.netconf.versions import has_previous_result_on_delete
from criwist.network.attachments import Attachments, Entry
from criwist.network.hostports import HostPorts
from criwist.network.netns_mounts import NetnsMounts
from criwist.network.plugin_chain import PluginChain
from criwist.network.turns import Turns

#: Seconds between attempts to release what could not be released.
RETRY_INTERVAL = 60.0
#: So many released sandboxes are remembered, to answer a repeated teardown without running every plugin once more.
_REMEMBERED = 1000

#: What brings up ``lo``.  The engine does so itself; where the plugin is installed it has its say, as under the older
#: shims, with the interface name that they passed.
LOOPBACK = parse_list('{"cniVersion": "0.2.0", "name": "cni-loopback", "plugins": [{"type": "loopback"}]}')


@frozen
class _Leftover:
    """Something that could not be released: when to try again, and what was wrong."""

    due: float
    error: str


@define(eq=False)
class Teardowns:
    """Releases what is attached, one pod at a time in its turn.

    :param end_strays: ends processes that plugins left behind for these containers; returns when they are gone.
    """

    _chains: PluginChain
    _attachments: Attachments
    _pins: NetnsMounts
    _host_ports: HostPorts
    _turns: Turns
    _clock: IReactorTime
    _end_strays: Callable[[set[str]], Coroutine[Any, Any, None]]
    _leftovers: dict[str, _Leftover] = field(factory=dict, init=False)
    #: In the order of their release.
    _released: dict[str, None] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, kw_only=True)

    @property
    def leftovers(self) -> dict[str, str]:
        """What was wrong with each sandbox that could not be released, by id."""
        return {sandbox_id: leftover.error for sandbox_id, leftover in self._leftovers.items()}

    def abandoned(self, sandbox_id: str) -> bool:
        """Whether nobody can be served by what the sandbox is attached to: its set-up failed, or its namespace is gone.

        The latter is so after a restart of the machine, of all pods from before that kubelet has not cleared away yet.
        """
        if sandbox_id in self._leftovers:
            return True
        entry = self._attachments.journaled(sandbox_id)
        return entry is not None and bool(entry.netns_inode) and not self.namespace(entry, None)

    def released(self, sandbox_id: str) -> bool:
        """Whether the sandbox was released in this life of ours, as far back as we remember."""
        return sandbox_id in self._released

    def namespace(self, entry: Entry, pause: JSONObject | None) -> str:
        """A path that leads to the pod's network namespace, ``""`` if it is gone.

        A namespace is known by its inode, since a pid, and so a path below /proc, may be somebody else's by now.  For
        a pod that another shim attached, the pause is believed.
        """
        state = (pause or {}).get("State") or {}
        of_pause = f"/proc/{state['Pid']}/ns/net" if state.get("Running") and state.get("Pid") else ""
        if not entry.netns_inode:
            return of_pause
        for path in (self._pins.path(entry.sandbox_id), entry.attachment.netns, of_pause):
            if path and inode(path) == entry.netns_inode:
                return path
        return ""

    async def release(self, entry: Entry, pause: JSONObject | None = None) -> None:
        """DEL, and forget the attachment.  To be called in the sandbox's turn.

        :raises CriwistError: it could not be released whole, and stays on record.
        """
        if entry.result is None:
            await self._end_strays({entry.sandbox_id})
        attachment = evolve(entry.attachment, netns=self.namespace(entry, pause))
        result = (entry.result or entry.partial) if has_previous_result_on_delete(entry.version) else None
        await self._chains.delete(entry.network, entry.version, attachment, result)
        if entry.loopback:
            await self._delete_loopback(attachment)
        self._pins.unpin(entry.sandbox_id)
        self._attachments.forget(entry)
        self._host_ports.release(entry.sandbox_id)
        self._leftovers.pop(entry.sandbox_id, None)
        self._remember(entry.sandbox_id)

    async def release_sooner_or_later(self, entry: Entry) -> None:
        """:meth:`release` now, or, if that fails, again every minute until it succeeds."""
        try:
            await self.release(entry)
        except CriwistError as error:
            self._leave(entry.sandbox_id, error)

    async def release_leftover(self, sandbox_id: str) -> None:
        """Release what the journal has of a sandbox that nobody else will release; if that fails, later.

        Waits for the sandbox's turn.
        """
        async with self._turns.take(sandbox_id):
            entry = self._attachments.journaled(sandbox_id)
            if entry is None:
                self._leftovers.pop(sandbox_id, None)
                return
            await self.release_sooner_or_later(entry)
            if sandbox_id not in self._leftovers:
                self._log.info("released what was left of the network of sandbox {sandbox}", sandbox=sandbox_id)

    def due(self) -> list[str]:
        """Leftovers whose time has come; each is named once."""
        now = self._clock.seconds()
        found = [sandbox_id for sandbox_id, leftover in self._leftovers.items() if leftover.due <= now]
        for sandbox_id in found:
            self._leftovers[sandbox_id] = evolve(self._leftovers[sandbox_id], due=now + RETRY_INTERVAL)
        return found

    async def _delete_loopback(self, attachment: Attachment) -> None:
        """There is nothing to release on ``lo``: what goes wrong is for the log."""
        try:
            await self._chains.delete(LOOPBACK, LOOPBACK.versions[0], attachment, None)
        except PluginFailure as failure:
            self._log.debug("{failure}", failure=failure)

    def _leave(self, sandbox_id: str, error: CriwistError) -> None:
        self._leftovers[sandbox_id] = _Leftover(self._clock.seconds() + RETRY_INTERVAL, str(error))
        self._log.error(
            "the network of sandbox {sandbox} cannot be released, trying again in {seconds:g} s: {error}",
            sandbox=sandbox_id,
            seconds=RETRY_INTERVAL,
            error=error,
        )

    def _remember(self, sandbox_id: str) -> None:
        self._released[sandbox_id] = None
        while len(self._released) > _REMEMBERED:
            del self._released[next(iter(self._released))]


def inode(path: str) -> int:
    """Inode of what is at *path*; 0 if nothing is."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
