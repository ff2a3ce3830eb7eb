"""The journal of attachments, and libcni's cache."""

from __future__ import annotations

import json
import os
from typing import Any

from attrs import evolve
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import Internal, InvalidArgument
from criwist.interfaces.network import PortMapping
from criwist.netconf.cache import Cached, read_cached, write_cached
from criwist.netconf.invocations import Attachment
from criwist.netconf.lists import parse_list
from criwist.network.attachments import Attachments, Entry, entry_document, read_entry
from criwist.network.pod_cidrs import PodCIDRs, read_pod_cidrs
from criwist.records.atomic_files import Documents
from tests.network.fake_plugins import LIST, FakePlugins

ID = "c" * 64
NETWORK = parse_list(json.dumps(LIST), source="10-pods.conflist")
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}, {"address": "fd00::2/64"}]}
ENTRY = Entry(
    NETWORK,
    "1.0.0",
    Attachment(
        ID,
        "/proc/7/ns/net",
        "eth0",
        (("K8S_POD_NAME", "web"),),
        {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "10.0.0.1"}]},
    ),
    netns_inode=4026531840,
    loopback=True,
)
COMPLETE = evolve(ENTRY, result=RESULT)


class AttachmentTests(SynchronousTestCase):
    """In directories of their own."""

    def setUp(self) -> None:
        self.plugins = FakePlugins()
        self.addCleanup(self.plugins.close)
        self.logged: list[dict[str, Any]] = []
        self.attachments = Attachments(
            self.plugins.path("journal"),
            self.plugins.path("cache"),
            log=Logger(observer=self.logged.append),  # type: ignore[arg-type]
        )

    def _cache(self) -> list[str]:
        try:
            return sorted(os.listdir(self.plugins.path("cache", "results")))
        except FileNotFoundError:
            return []

    def _put(self, name: str, content: str) -> None:
        os.makedirs(self.plugins.path("cache", "results"), exist_ok=True)
        with open(self.plugins.path("cache", "results", name), "w", encoding="utf-8") as file:
            file.write(content)

    def test_begin(self) -> None:
        """An attachment that has begun is in the journal and not in the cache."""
        self.attachments.begin(ENTRY)
        again = Attachments(self.plugins.path("journal"), self.plugins.path("cache"))
        self.assertEqual(again.find_in_journal(ID), ENTRY)
        self.assertEqual(self._cache(), [])

    def test_complete(self) -> None:
        """A complete attachment is in both, and libcni can read the cache file."""
        self.attachments.begin(ENTRY)
        self.attachments.complete(COMPLETE)
        self.assertEqual(self.attachments.find_in_journal(ID), COMPLETE)
        self.assertEqual(self._cache(), [f"pods-{ID}-eth0"])
        with open(self.plugins.path("cache", "results", f"pods-{ID}-eth0"), "rb") as file:
            self.assertEqual(read_cached(file.read()), Cached("pods", NETWORK.text, ENTRY.attachment, RESULT))

    def test_remove(self) -> None:
        """A removed attachment is in neither, nor its loopback of an older shim; removing twice succeeds."""
        self.attachments.complete(COMPLETE)
        self._put(f"cni-loopback-{ID}-eth0", "{}")
        self.attachments.remove(COMPLETE)
        self.attachments.remove(COMPLETE)
        self.assertEqual((self._cache(), self.attachments.sandbox_ids()), ([], []))

    def test_properties(self) -> None:
        """An entry has its addresses in order, and its host ports."""
        self.assertEqual((ENTRY.addresses, COMPLETE.addresses), ((), ("10.1.0.2", "fd00::2")))
        self.assertEqual(ENTRY.port_mappings, (PortMapping("tcp", 80, 8080, "10.0.0.1"),))

    def test_document(self) -> None:
        """An entry can be written as JSON and read again; other documents are rejected."""
        self.assertEqual(read_entry(json.loads(json.dumps(entry_document(COMPLETE)))), COMPLETE)
        for document in ({}, {**entry_document(COMPLETE), "list": "{}"}, {**entry_document(COMPLETE), "list": 7}):
            self.assertRaises(ValueError, read_entry, document)

    def test_damaged(self) -> None:
        """A damaged entry is logged and set aside."""
        Documents(self.plugins.path("journal"), 1).write(ID, {"list": "?"})
        self.assertIsNone(self.attachments.find_in_journal(ID))
        self.assertEqual(self.attachments.sandbox_ids(), [])
        self.assertEqual(len(self.logged), 1)

    def test_full_disk(self) -> None:
        """A journal that cannot be written raises Internal, before any plugin runs."""
        with open(self.plugins.path("journal"), "w", encoding="utf-8"):
            self.assertRaises(Internal, self.attachments.begin, ENTRY)

    def test_cached_by_another_shim(self) -> None:
        """The cache has the entry of cri-dockerd's pod, with the list and arguments of its ADD."""
        attachment = evolve(ENTRY.attachment, netns="")
        self._put(f"pods-{ID}-eth0", write_cached(Cached("pods", NETWORK.text, attachment, RESULT)))
        self._put(f"cni-loopback-{ID}-eth0", "{}")
        entry = self.attachments.find_in_cache(ID, None)
        self.assertEqual(entry, Entry(parse_list(NETWORK.text), "1.0.0", attachment, result=RESULT, loopback=True))
        self.assertIsNone(self.attachments.find_in_cache("d" * 64, None))

    def test_single_plugin_in_cache(self) -> None:
        """The cached configuration may be a single plugin's."""
        text = json.dumps({"name": "pods", "cniVersion": "0.3.1", "type": "bridge"})
        result = {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.0.2/24"}]}
        self._put(f"pods-{ID}-eth0", write_cached(Cached("pods", text, ENTRY.attachment, result)))
        entry = self.attachments.find_in_cache(ID, None)
        self.assertIsNotNone(entry)
        self.assertEqual(entry and (entry.version, entry.addresses), ("0.3.1", ("10.1.0.2",)))

    def test_bare_result_in_cache(self) -> None:
        """The oldest cache files have a result alone: the active configuration of that name is used."""
        self._put(f"pods-{ID}-eth0", json.dumps(RESULT))
        self.assertIsNone(self.attachments.find_in_cache(ID, None))
        entry = self.attachments.find_in_cache(ID, NETWORK)
        self.assertEqual(entry and entry.addresses, ("10.1.0.2", "fd00::2"))

    def test_malformed_cache(self) -> None:
        """A malformed file in the cache directory is skipped."""
        for content in ("", "{", "[]", json.dumps({"kind": "cniCacheV1", "config": "e30="})):
            self._put(f"pods-{ID}-eth0", content)
            self.assertIsNone(self.attachments.find_in_cache(ID, NETWORK))

    def test_valid(self) -> None:
        """Every attachment to a network in journal or cache is valid; those to other networks are left out."""
        self.attachments.begin(ENTRY)
        self._put("pods-d1-eth0", "")
        self._put("pods-d1-net1", "")
        self._put("storage-d2-eth0", "")
        self.assertEqual(self.attachments.valid_attachments("pods"), [(ID, "eth0"), ("d1", "eth0"), ("d1", "net1")])


class PodCIDRTests(SynchronousTestCase):
    """The node's pod CIDRs."""

    def test_read(self) -> None:
        """One CIDR, or one of each family."""
        self.assertEqual(read_pod_cidrs("", "f"), ())
        self.assertEqual(read_pod_cidrs("10.1.0.0/24", "f"), ("10.1.0.0/24",))
        self.assertEqual(read_pod_cidrs("10.1.0.0/24, fd00::/64", "f"), ("10.1.0.0/24", "fd00::/64"))
        for text in ("10.1.0.1/24", "10.1.0.0", "10.1.0.0/24,10.2.0.0/24", "pods"):
            self.assertRaises(InvalidArgument, read_pod_cidrs, text, "f")

    def test_restart(self) -> None:
        """After a restart the CIDR that kubelet sent last is used, unless the operator configured another."""
        world = FakePlugins()
        self.addCleanup(world.close)
        documents = Documents(world.path("state"), 1)
        self.assertEqual(PodCIDRs(documents).load(), ())
        PodCIDRs(documents).save("10.1.0.0/24")
        self.assertEqual(PodCIDRs(documents).load(), ("10.1.0.0/24",))
        self.assertEqual(PodCIDRs(documents, "10.2.0.0/24").load(), ("10.2.0.0/24",))
