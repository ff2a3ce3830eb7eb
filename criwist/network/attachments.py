"""Attachments of pods to networks, on disk: criwist's journal, and libcni's cache beside it.

The journal has an entry from before the first plugin of ADD is called until DEL has succeeded.  So whenever criwist is
killed, its next start knows what to release, and with which configuration.  An entry without a result is of an ADD
that did not return.

The cache has the same of the attachments that are complete, in the form that cri-dockerd reads and writes.  cri-dockerd
made an attachment that is in the cache and not in the journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from criwist.errors import Internal
from criwist.interfaces.network import PortMapping
from criwist.netconf.cache import Cached, cache_file_name, read_cached, write_cached
from criwist.netconf.capabilities import PORT_MAPPINGS
from criwist.netconf.invocations import Attachment
from criwist.netconf.lists import NetworkList, parse_list
from criwist.netconf.plugin_errors import MalformedDocument, parse_json_object
from criwist.netconf.results import Result, read_result, result_version
from criwist.records.atomic_files import Documents, remove_file, valid_key, write_file

_VERSION = 1
#: Name of the pod's interface, for every plugin and every shim.
INTERFACE = "eth0"


@frozen
class Entry:
    """The attachment of one pod to one network."""

    network: NetworkList
    #: Version of the specification that ADD ran as, and DEL must run as.
    version: str
    attachment: Attachment
    #: Inode of the pod's network namespace, which shows whether a path still leads to it; 0: unknown.
    netns_inode: int = 0
    #: The result of ADD, in the form of ``version``; None: ADD has not returned.
    result: Mapping[str, Any] | None = None
    #: While ADD has not returned: the result of the last plugin that has.
    partial: Mapping[str, Any] | None = None
    #: The loopback plugin ran as well.
    loopback: bool = False

    @property
    def sandbox_id(self) -> str:
        """The sandbox's id, which is the attachment's container id."""
        return self.attachment.container_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's addresses, in the plugin's order."""
        return () if self.result is None else self.read_result().pod_addresses(self.attachment.interface)

    @property
    def port_mappings(self) -> tuple[PortMapping, ...]:
        """The pod's host ports."""
        mappings = self.attachment.capability_arguments.get(PORT_MAPPINGS) or ()
        return tuple(
            PortMapping(
                protocol=str(mapping.get("protocol") or "tcp").lower(),
                container_port=int(mapping.get("containerPort") or 0),
                host_port=int(mapping.get("hostPort") or 0),
                host_ip=str(mapping.get("hostIP") or ""),
            )
            for mapping in mappings
        )

    def read_result(self) -> Result:
        """Return the result as a value, an empty one if there is none."""
        return Result() if self.result is None else read_result(self.result)


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return the entry as JSON, for the journal and for the sandbox's record."""
    attachment = entry.attachment
    return {
        "list": entry.network.text,
        "source": entry.network.source,
        "version": entry.version,
        "container_id": attachment.container_id,
        "netns": attachment.netns,
        "netns_inode": entry.netns_inode,
        "interface": attachment.interface,
        "arguments": [list(pair) for pair in attachment.arguments],
        "capability_arguments": dict(attachment.capability_arguments),
        "result": None if entry.result is None else dict(entry.result),
        "partial": None if entry.partial is None else dict(entry.partial),
        "loopback": entry.loopback,
    }


def read_entry(document: Mapping[str, Any]) -> Entry:
    """Return the entry of a document that :func:`entry_document` made.

    :raises ValueError: it is no such document.
    """
    try:
        return Entry(
            network=parse_list(document["list"], source=document["source"]),
            version=document["version"],
            attachment=Attachment(
                container_id=document["container_id"],
                netns=document["netns"],
                interface=document["interface"],
                arguments=tuple((key, value) for key, value in document["arguments"]),
                capability_arguments=document["capability_arguments"],
            ),
            netns_inode=document["netns_inode"],
            result=document["result"],
            partial=document["partial"],
            loopback=document["loopback"],
        )
    except (KeyError, TypeError) as problem:
        raise ValueError(f"it is not the entry of an attachment: {problem!r}") from problem


@define(eq=False)
class Attachments:
    """The journal in *directory* and the cache in *cache_directory*."""

    directory: str
    cache_directory: str
    _journal: Documents = field(init=False)
    _log: Logger = field(factory=Logger, kw_only=True)

    def __attrs_post_init__(self) -> None:
        self._journal = Documents(self.directory, _VERSION, log=self._log)

    def begin(self, entry: Entry) -> None:
        """Record that ADD is about to be called.  Durable on return.

        :raises Internal: the journal cannot be written, and ADD must not be called.
        """
        with _as_internal(f"network of sandbox {entry.sandbox_id} cannot be recorded"):
            self._journal.write(entry.sandbox_id, entry_document(entry))

    def update(self, entry: Entry) -> None:
        """Record the partial result of ADD.  Survives a crash of criwist; a reboot removes what plugins made anyway.

        :raises Internal: the journal cannot be written.
        """
        with _as_internal(f"network of sandbox {entry.sandbox_id} cannot be recorded"):
            self._journal.write(entry.sandbox_id, entry_document(entry), durable=False)

    def complete(self, entry: Entry) -> None:
        """Record that ADD has returned the entry's result.

        Survives a crash of criwist from now on, and one of the machine soon: the sandbox's record, which is written
        next, has the same, and is durable.

        :raises Internal: journal or cache cannot be written.
        """
        path = self._cache_path(entry)
        cached = Cached(entry.network.name, entry.network.text, entry.attachment, entry.result)
        with _as_internal(f"network of sandbox {entry.sandbox_id} cannot be recorded"):
            self._journal.write(entry.sandbox_id, entry_document(entry), durable=False)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            write_file(path, write_cached(cached).encode("utf-8"), durable=False)

    def remove(self, entry: Entry) -> None:
        """Remove the entry after DEL has succeeded.  Idempotent.

        The cache is removed first: an entry in the cache alone would be taken for cri-dockerd's.

        :raises Internal: it cannot be removed, and DEL will be called again.
        """
        with _as_internal(f"record of the network of sandbox {entry.sandbox_id} cannot be removed"):
            remove_file(self._cache_path(entry))
            if entry.loopback:
                name = cache_file_name("cni-loopback", entry.sandbox_id, entry.attachment.interface)
                remove_file(self._result_path(name))
            self._journal.remove(entry.sandbox_id)

    def sandbox_ids(self) -> list[str]:
        """Return the sandbox ids of all entries in the journal."""
        return self._journal.keys()

    def find_in_journal(self, sandbox_id: str) -> Entry | None:
        """Return the sandbox's entry in the journal; a damaged one is logged and set aside."""
        document = self._journal.read(sandbox_id)
        if document is None:
            return None
        try:
            return read_entry(document)
        except ValueError as problem:
            self._journal.set_aside(sandbox_id, str(problem))
            return None

    def find_in_cache(self, sandbox_id: str, fallback: NetworkList | None) -> Entry | None:
        """Return the sandbox's entry in the cache, which another runtime may have written.

        :param fallback: the list to use for a file of libcni before 0.8, which has the result and no list.
        """
        marker = f"-{sandbox_id}-"
        for name in self._cache_names():
            network, found, interface = name.partition(marker)
            if not found or interface != INTERFACE or network == "cni-loopback" or not valid_key(sandbox_id):
                continue
            path = self._result_path(name)
            try:
                with open(path, "rb") as file:
                    return _parse_cached(file.read(), network, sandbox_id, fallback)
            except (OSError, ValueError) as problem:
                self._log.error("{path} cannot be used: {problem}", path=path, problem=problem)
        return None

    def valid_attachments(self, network: str) -> list[tuple[str, str]]:
        """Return container id and interface of every known attachment to *network*, of any runtime, for GC."""
        entries = [self.find_in_journal(sandbox_id) for sandbox_id in self.sandbox_ids()]
        known = {(entry.sandbox_id, entry.attachment.interface) for entry in entries if entry is not None}
        prefix = network + "-"
        for name in self._cache_names():
            container_id, separator, interface = name.removeprefix(prefix).partition("-")
            if name.startswith(prefix) and separator:
                known.add((container_id, interface))
        return sorted(known)

    def _cache_path(self, entry: Entry) -> str:
        return self._result_path(cache_file_name(entry.network.name, entry.sandbox_id, entry.attachment.interface))

    def _result_path(self, name: str) -> str:
        return os.path.join(self.cache_directory, "results", name)

    def _cache_names(self) -> list[str]:
        try:
            return sorted(os.listdir(os.path.join(self.cache_directory, "results")))
        except OSError:
            return []


@contextmanager
def _as_internal(text: str) -> Iterator[None]:
    """Raise each OSError as Internal, with *text* before it."""
    try:
        yield
    except OSError as problem:
        raise Internal(f"{text}: {problem}") from problem


def _parse_cached(content: bytes, network: str, sandbox_id: str, fallback: NetworkList | None) -> Entry:
    try:
        cached = read_cached(content)
    except MalformedDocument:
        return _parse_bare_result(content, network, sandbox_id, fallback)
    listed = parse_list(cached.configuration)
    result = cached.result
    version = listed.versions[0]
    if result is not None and result_version(result) in listed.versions:
        version = result_version(result)
    entry = Entry(listed, version, evolve(cached.attachment, interface=INTERFACE), result=result, loopback=True)
    entry.read_result()
    return entry


def _parse_bare_result(content: bytes, network: str, sandbox_id: str, fallback: NetworkList | None) -> Entry:
    if fallback is None or fallback.name != network:
        raise MalformedDocument(f"it has no configuration, and network {network} has no active one")
    result = parse_json_object(content)
    entry = Entry(fallback, result_version(result), Attachment(sandbox_id, "", INTERFACE), result=result, loopback=True)
    entry.read_result()
    return entry
