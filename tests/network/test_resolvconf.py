"""resolv.conf of pods."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import Internal
from criwist.network.resolvconf import ResolvConfs, resolv_conf_text, shared_label

ID = "c" * 64
DNS = pb.DNSConfig(servers=["10.96.0.10"], searches=["a.local"], options=["ndots:5"])
TEXT = "nameserver 10.96.0.10\nsearch a.local\noptions ndots:5\n"


class TextTests(SynchronousTestCase):
    """The file's syntax."""

    def test_all(self) -> None:
        """Servers have a line each; search domains and options share one."""
        self.assertEqual(
            resolv_conf_text(["10.96.0.10", "fd00::a"], ["a.local", "b.local"], ["ndots:5", "edns0"]),
            "nameserver 10.96.0.10\nnameserver fd00::a\nsearch a.local b.local\noptions ndots:5 edns0\n",
        )

    def test_parts(self) -> None:
        """An empty setting has no line."""
        self.assertEqual(resolv_conf_text(["1.1.1.1"], [], []), "nameserver 1.1.1.1\n")
        self.assertEqual(resolv_conf_text([], ["x"], []), "search x\n")
        self.assertEqual(resolv_conf_text([], [], []), "")

    def test_label(self) -> None:
        """A label loses its categories, which only one container would match."""
        expected = b"system_u:object_r:container_file_t:s0"
        self.assertEqual(shared_label(b"system_u:object_r:container_file_t:s0:c12,c345\0"), expected)
        self.assertEqual(shared_label(expected), expected)


class FileTests(SynchronousTestCase):
    """criwist's file and the engine's."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        self.engine_path = os.path.join(self.root, "engine-resolv.conf")
        with open(self.engine_path, "w", encoding="utf-8") as stream:
            stream.write("nameserver 192.0.2.1\nsearch node.example\noptions a-long-line-that-must-not-remain\n")
        self.logged: list[dict[str, Any]] = []
        self.confs = ResolvConfs(os.path.join(self.root, "sandboxes"), log=Logger(observer=self.logged.append))  # type: ignore[arg-type]
        self.pause = {"Id": ID, "ResolvConfPath": self.engine_path}

    def _read(self, path: str) -> str:
        with open(path, encoding="utf-8") as stream:
            return stream.read()

    def test_write(self) -> None:
        """Both files have the requested settings and none of the node's, readable by all; the engine's inode stays."""
        inode = os.stat(self.engine_path).st_ino
        self.confs.write(DNS, self.pause)
        path = self.confs.path(ID)
        self.assertEqual((self._read(path), self._read(self.engine_path)), (TEXT, TEXT))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)
        self.assertEqual(os.stat(self.engine_path).st_ino, inode)

    def test_write_again(self) -> None:
        """A second write changes the content and keeps the inode, which containers have mounted."""
        self.confs.write(DNS, self.pause)
        inode = os.stat(self.confs.path(ID)).st_ino
        self.confs.write(pb.DNSConfig(servers=["9.9.9.9"]), self.pause)
        self.assertEqual(os.stat(self.confs.path(ID)).st_ino, inode)
        self.assertEqual(self._read(self.confs.path(ID)), "nameserver 9.9.9.9\n")

    def test_empty(self) -> None:
        """A pod without DNS configuration keeps the node's settings, and has no file to mount."""
        self.confs.write(pb.DNSConfig(), self.pause)
        self.assertEqual(self.confs.path(ID), "")
        self.assertIn("192.0.2.1", self._read(self.engine_path))

    def test_engine_file_missing(self) -> None:
        """A missing file of the engine is logged and not created; criwist's is written."""
        os.unlink(self.engine_path)
        self.confs.write(DNS, self.pause)
        self.assertEqual(self._read(self.confs.path(ID)), TEXT)
        self.assertFalse(os.path.exists(self.engine_path))
        self.assertEqual([event["log_level"].name for event in self.logged], ["warn"])

    def test_unwritable(self) -> None:
        """If criwist's file cannot be written, the call fails, so that no pod starts without its DNS configuration."""
        with open(os.path.join(self.root, "sandboxes"), "w", encoding="utf-8"):
            pass
        self.assertRaises(Internal, self.confs.write, DNS, self.pause)

    def test_forget(self) -> None:
        """A removed sandbox leaves neither file nor directory; a second call succeeds."""
        self.confs.write(DNS, self.pause)
        self.confs.forget(ID)
        self.confs.forget(ID)
        self.assertEqual(os.listdir(os.path.join(self.root, "sandboxes")), [])
        self.assertEqual(self.confs.path(ID), "")
