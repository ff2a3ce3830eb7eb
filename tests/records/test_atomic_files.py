"""JSON documents on disk: they survive crashes, and damage is detected."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from criwist.records.atomic_files import Documents, remove_file, valid_key, write_file

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class DocumentsTests(SynchronousTestCase):
    """A document reads back as it was written, or as None."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = os.path.join(directory.name, "made", "on", "demand")
        self.logged: list[dict[str, Any]] = []
        self.documents = Documents(self.directory, 1, log=Logger(observer=self.logged.append))  # type: ignore[arg-type]

    def test_round_trip(self) -> None:
        """A document reads back equal, also in another process."""
        self.documents.write("a1", {"text": "äß€", "list": [1, None, True]})
        again = Documents(self.directory, 1)
        self.assertEqual(again.read("a1"), {"text": "äß€", "list": [1, None, True]})

    def test_write_replaces(self) -> None:
        """The last write wins, and no temporary file remains."""
        self.documents.write("a1", {"n": 1})
        self.documents.write("a1", {"n": 2})
        self.assertEqual(self.documents.read("a1"), {"n": 2})
        self.assertEqual(os.listdir(self.directory), ["a1.json"])

    def test_absent(self) -> None:
        """A key that was never written reads as None, without a log line; the directory need not exist."""
        self.assertIsNone(self.documents.read("a1"))
        self.assertEqual(self.documents.keys(), [])
        self.assertEqual(self.logged, [])

    def test_remove_is_idempotent(self) -> None:
        """Removing twice is no error and leaves an empty directory."""
        self.documents.write("a1", {})
        self.documents.remove("a1")
        self.documents.remove("a1")
        self.assertEqual(os.listdir(self.directory), [])

    def test_keys(self) -> None:
        """Keys are in order, and neither dot files nor damaged ones are among them."""
        for key in ("b", "a", "c"):
            self.documents.write(key, {})
        self.documents.set_aside("c", "a test")
        write_file(os.path.join(self.directory, ".hidden.json"), b"{}")
        self.assertEqual(self.documents.keys(), ["a", "b"])

    def _damage(self, content: bytes) -> None:
        self.documents.write("a1", {"n": 1})
        with open(self.documents.path("a1"), "wb") as stream:
            stream.write(content)
        self.assertIsNone(self.documents.read("a1"))
        self.assertEqual(os.listdir(self.directory), ["a1.json.damaged"])
        self.assertEqual([event["log_level"].name for event in self.logged], ["error"])
        self.assertIsNone(self.documents.read("a1"))
        self.assertEqual(len(self.logged), 1)

    def test_truncated(self) -> None:
        """A file that was cut short is logged once and set aside, and reads as None from then on."""
        self._damage(b'{"version": 1, "che')

    def test_empty(self) -> None:
        """An empty file, as a full disk leaves it, counts as damaged."""
        self._damage(b"")

    def test_not_text(self) -> None:
        """Bytes that are not UTF-8 count as damaged."""
        self._damage(b"\xff\xfe\x00")

    def test_not_an_object(self) -> None:
        """JSON of another type than an object counts as damaged."""
        self._damage(b"[1]")

    def test_checksum(self) -> None:
        """Changed content with the old checksum counts as damaged."""
        whole = {"version": 1, "checksum": "sha256:" + 64 * "0", "document": {"n": 2}}
        self._damage(json.dumps(whole).encode())

    def test_removing_takes_the_damaged_one(self) -> None:
        """Removing a document also removes its damaged file that was set aside."""
        self.documents.write("a1", {})
        self.documents.set_aside("a1", "a test")
        self.documents.remove("a1")
        self.assertEqual(os.listdir(self.directory), [])

    def test_removing_takes_an_interrupted_write(self) -> None:
        """Removing a document also removes the temporary file of a crash, which hinders no write before."""
        self.documents.write("a1", {})
        with open(os.path.join(self.directory, ".a1.json.new"), "wb") as stream:
            stream.write(b"{")
        self.documents.remove("a1")
        self.assertEqual(os.listdir(self.directory), [])

    def test_newer_version(self) -> None:
        """A file of a newer version stays in place and reads as None."""
        Documents(self.directory, 2).write("a1", {"n": 1})
        self.assertIsNone(self.documents.read("a1"))
        self.assertEqual(os.listdir(self.directory), ["a1.json"])
        self.assertEqual([event["log_level"].name for event in self.logged], ["error"])

    def test_paths_are_no_keys(self) -> None:
        """A key cannot name a path outside of the directory: reading returns None, writing is refused."""
        for key in ("../a", "a/b", "", ".a", "a.", "a" * 251, "a\n"):
            self.assertFalse(valid_key(key))
            self.assertIsNone(self.documents.read(key))
            self.assertRaises(ValueError, self.documents.write, key, {})
            self.documents.remove(key)


class FileTests(SynchronousTestCase):
    """A file is written whole or not at all."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def test_mode(self) -> None:
        """The file gets the requested mode, whatever the umask."""
        path = os.path.join(self.directory, "file")
        write_file(path, b"text", 0o644)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)

    def test_failure_leaves_nothing(self) -> None:
        """A write that fails leaves neither a temporary file nor a changed target."""
        target = os.path.join(self.directory, "directory")
        os.mkdir(target)
        self.assertRaises(OSError, write_file, target, b"text")
        self.assertEqual(os.listdir(self.directory), ["directory"])

    def test_remove_tells(self) -> None:
        """Removing returns whether the file existed."""
        path = os.path.join(self.directory, "file")
        write_file(path, b"")
        self.assertTrue(remove_file(path))
        self.assertFalse(remove_file(path))


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), _values, max_size=4))
def test_any_document(document: dict[str, Any]) -> None:
    """Every value that JSON can express reads back equal."""
    with tempfile.TemporaryDirectory() as directory:
        documents = Documents(directory, 1)
        documents.write("key", document)
        assert documents.read("key") == document
