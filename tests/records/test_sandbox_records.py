"""Sandbox records, and the checkpoints of older shims."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from attrs import evolve
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.interfaces.network import PodNetwork, PodNetworkRequest, PortMapping
from criwist.interfaces.records import ISandboxRecords, SandboxRecord
from criwist.records.older_shims import checkpoint_text, cri_dockerd_checksum, fnv1a_32, read_checkpoint
from criwist.records.sandboxes import SandboxRecords, mirror_directory

ID = "0123456789abcdef" * 4

RECORD = SandboxRecord(
    sandbox_id=ID,
    request=PodNetworkRequest(
        sandbox_id=ID,
        name="web-0",
        namespace="shop",
        uid="7b1c",
        annotations={"kubernetes.io/ingress-bandwidth": "1M"},
        port_mappings=(PortMapping("tcp", 80, 18080, "127.0.0.1"), PortMapping("sctp", 9, 19)),
        dns_servers=("10.96.0.10",),
        dns_searches=("shop.svc.cluster.local",),
        dns_options=("ndots:5",),
        cgroup_parent="/kubepods/pod7b1c",
    ),
    network_plugin="cni",
    network=PodNetwork(("10.1.0.2", "fd00::2"), {"list": {"name": "net"}, "result": {"ips": []}}),
    runtime_handler="runc",
    log_directory="/var/log/pods/shop_web-0_7b1c",
    hostname="web-0",
    stopped=True,
)


class RecordTests(SynchronousTestCase):
    """Records in a directory of their own, beside those of older shims."""

    def setUp(self) -> None:
        root = tempfile.TemporaryDirectory()
        self.addCleanup(root.cleanup)
        self.root = root.name
        self.cri_dockerd = os.path.join(self.root, "cri-dockerd", "sandbox")
        self.dockershim = os.path.join(self.root, "dockershim", "sandbox")
        self.logged: list[dict[str, Any]] = []
        self.records = self._records()

    def _records(self, mirror: str = "") -> SandboxRecords:
        return SandboxRecords(
            os.path.join(self.root, "records"),
            older=(self.cri_dockerd, self.dockershim),
            mirror=mirror,
            log=Logger(observer=self.logged.append),  # type: ignore[arg-type]
        )

    def _older(self, directory: str, name: str, content: str) -> str:
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(content)
        return path

    def test_interface(self) -> None:
        """SandboxRecords provides ISandboxRecords."""
        verifyObject(ISandboxRecords, self.records)

    def test_round_trip(self) -> None:
        """Every field of a record survives a restart."""
        self.records.save(RECORD)
        self.assertEqual(self._records().load(ID), RECORD)
        self.assertEqual(list(self._records().identifiers()), [ID])

    def test_round_trip_of_an_unfinished_one(self) -> None:
        """A record that was saved before its network is set up has no network."""
        record = SandboxRecord(ID, PodNetworkRequest(ID, "p", "n", "u"), "cni", host_network=True)
        self.records.save(record)
        self.assertEqual(self._records().load(ID), record)

    def test_unknown(self) -> None:
        """A sandbox without a record is None, for any id."""
        self.assertIsNone(self.records.load(ID))
        self.assertIsNone(self.records.load("../../etc/passwd"))
        self.records.remove("../../etc/passwd")

    def test_remove(self) -> None:
        """A removed record is gone, and removing it again is no error."""
        self.records.save(RECORD)
        self.records.remove(ID)
        self.records.remove(ID)
        self.assertIsNone(self.records.load(ID))
        self.assertEqual(list(self.records.identifiers()), [])

    def test_damaged(self) -> None:
        """A damaged record is logged, set aside and None; the sandbox can get a new one."""
        self.records.save(RECORD)
        path = os.path.join(self.root, "records", ID + ".json")
        with open(path, "r+b") as stream:
            stream.truncate(100)
        self.assertIsNone(self.records.load(ID))
        self.assertTrue(os.path.exists(path + ".damaged"))
        self.assertEqual(len(self.logged), 1)
        self.records.save(RECORD)
        self.assertEqual(self.records.load(ID), RECORD)

    def test_wrong_shape(self) -> None:
        """A file with a valid checksum over another kind of document is damaged too."""
        self.records._documents.write(ID, {"sandbox_id": ID})
        self.assertIsNone(self.records.load(ID))
        self.assertEqual(list(self.records.identifiers()), [])

    def test_adopted(self) -> None:
        """A sandbox that only cri-dockerd knows has its pod, its host ports and its network mode."""
        self._older(
            self.cri_dockerd,
            ID,
            checkpoint_text(
                name="web-0", namespace="shop", port_mappings=RECORD.request.port_mappings, host_network=True
            ),
        )
        record = self.records.load(ID)
        self.assertIsNotNone(record)
        self.assertEqual(
            record,
            SandboxRecord(
                ID,
                PodNetworkRequest(ID, "web-0", "shop", "", port_mappings=RECORD.request.port_mappings),
                network_plugin="",
                host_network=True,
            ),
        )
        self.assertEqual(list(self.records.identifiers()), [ID])

    def test_ours_is_believed_first(self) -> None:
        """criwist's record wins over an older shim's checkpoint of the same sandbox."""
        self._older(self.cri_dockerd, ID, '{"version":"v1","name":"x","namespace":"y","data":{},"checksum":2305795928}')
        self.records.save(RECORD)
        self.assertEqual(self.records.load(ID), RECORD)
        self.assertEqual(list(self.records.identifiers()), [ID])

    def test_dockershim(self) -> None:
        """dockershim's directory is read too, whatever the checksum; dot files are not."""
        self._older(self.dockershim, ID, '{"version":"v1","name":"x","namespace":"y","data":{},"checksum":1}')
        self._older(self.dockershim, ".partial", "{")
        record = self.records.load(ID)
        self.assertIsNotNone(record)
        self.assertEqual(list(self.records.identifiers()), [ID])

    def test_older_damage(self) -> None:
        """A checkpoint that cannot be read is logged and None, and stays on disk for its shim."""
        path = self._older(self.cri_dockerd, ID, "{")
        self.assertIsNone(self.records.load(ID))
        self.assertEqual(len(self.logged), 1)
        self.assertTrue(os.path.exists(path))

    def test_removing_an_adopted_one(self) -> None:
        """A removed sandbox does not come back from the older shim's directory."""
        path = self._older(self.cri_dockerd, ID, '{"version":"v1","name":"x","namespace":"y","data":{},"checksum":1}')
        self.records.remove(ID)
        self.assertFalse(os.path.exists(path))
        self.assertEqual(list(self.records.identifiers()), [])

    def test_mirror(self) -> None:
        """With a mirror, cri-dockerd finds each sandbox with the right checksum, until the record is removed."""
        records = self._records(mirror=self.cri_dockerd)
        records.save(RECORD)
        with open(os.path.join(self.cri_dockerd, ID), encoding="utf-8") as stream:
            checkpoint = json.load(stream)
        self.assertEqual(checkpoint["checksum"], cri_dockerd_checksum(RECORD.request.port_mappings, False))
        self.assertEqual((checkpoint["name"], checkpoint["namespace"]), ("web-0", "shop"))
        self.assertEqual(records.load(ID), RECORD)
        records.remove(ID)
        self.assertEqual(os.listdir(self.cri_dockerd), [])

    def test_mirror_is_written_once(self) -> None:
        """A checkpoint is not rewritten for changes of the record that it does not contain; a wrong checkpoint is."""
        records = self._records(mirror=self.cri_dockerd)
        records.save(RECORD, durable=False)
        path = os.path.join(self.cri_dockerd, RECORD.sandbox_id)
        before = os.stat(path).st_ino
        records.save(evolve(RECORD, stopped=True))
        self.assertEqual(os.stat(path).st_ino, before)
        with open(path, "rb+") as file:
            content = file.read()
            file.truncate(3)
        records.save(RECORD)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)

    def test_mirror_that_cannot_be_written(self) -> None:
        """A sandbox starts although its mirror cannot be written; the log names the effect."""
        self._older(self.root, "file", "")
        records = self._records(mirror=os.path.join(self.root, "file", "sandbox"))
        records.save(RECORD)
        self.assertEqual(records.load(ID), RECORD)
        self.assertEqual([event["log_level"].name for event in self.logged], ["warn"])

    def test_where_to_mirror(self) -> None:
        """Records are mirrored if cri-dockerd was installed on the node, and else not."""
        self.assertEqual(mirror_directory(self.cri_dockerd), "")
        os.makedirs(self.cri_dockerd)
        self.assertEqual(mirror_directory(self.cri_dockerd), self.cri_dockerd)


class CheckpointTextTests(SynchronousTestCase):
    """The older shims' files to the byte, against files that cri-dockerd wrote."""

    def test_without_ports(self) -> None:
        """A pod without host ports has an empty data object and the checksum of its dump."""
        self.assertEqual(
            checkpoint_text(name="x", namespace="default", port_mappings=(), host_network=False),
            '{"version":"v1","name":"x","namespace":"default","data":{},"checksum":2305795928}',
        )

    def test_with_ports(self) -> None:
        """A host port is part of data and checksum; an empty address is omitted from the data only."""
        self.assertEqual(
            checkpoint_text(
                name="y", namespace="default", port_mappings=(PortMapping("tcp", 80, 18099),), host_network=False
            ),
            '{"version":"v1","name":"y","namespace":"default","data":{"port_mappings":[{"protocol":"tcp",'
            '"container_port":80,"host_port":18099}]},"checksum":777873580}',
        )

    def test_host_network(self) -> None:
        """The flag of the host's network changes the checksum."""
        self.assertEqual(cri_dockerd_checksum((), host_network=True), 12315789)

    def test_fnv(self) -> None:
        """The hash is 32-bit FNV-1a, by its published vectors."""
        self.assertEqual([fnv1a_32(b""), fnv1a_32(b"a"), fnv1a_32(b"foobar")], [0x811C9DC5, 0xE40C292C, 0xBF9CF968])

    def test_not_a_checkpoint(self) -> None:
        """A checkpoint without a pod's name, data or valid mappings is refused."""
        for text in (
            "[]",
            "{}",
            '{"name": "a", "namespace": "b"}',
            '{"name": "a", "namespace": "b", "data": {"port_mappings": 1}}',
            '{"name": "a", "namespace": "b", "data": {"port_mappings": [1]}}',
            '{"name": "a", "namespace": "b", "data": {"port_mappings": [{"protocol": "icmp"}]}}',
            '{"name": "a", "namespace": "b", "data": {"port_mappings": [{"host_port": "80"}]}}',
        ):
            self.assertRaises(ValueError, read_checkpoint, ID, text.encode())
