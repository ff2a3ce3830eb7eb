"""Archives that are written atomically."""

from __future__ import annotations

import os
import tarfile
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.core.containers.checkpoint_archive import write_archive


class ArchiveTests(SynchronousTestCase):
    """Archives of a directory with a file."""

    def setUp(self) -> None:
        """Create the directory, and one for the archive."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source = f"{directory.name}/source"
        self.place = f"{directory.name}/place"
        os.makedirs(f"{self.source}/below")
        os.mkdir(self.place)
        with open(f"{self.source}/below/file", "w") as file:
            file.write("content")
        self.location = f"{self.place}/archive.tar"

    def test_contents(self) -> None:
        """An archive has the directory's files below the prefix, and the texts beside it."""
        write_archive(self.location, self.source, "prefix", {"text": b"said"})
        with tarfile.open(self.location) as tar:
            read = {member.name: (tar.extractfile(member) or self.fail()).read() for member in tar if member.isfile()}
        self.assertEqual(read, {"prefix/below/file": b"content", "text": b"said"})
        self.assertEqual(os.listdir(self.place), ["archive.tar"])

    def test_replaces(self) -> None:
        """An existing file is replaced; a symbolic link is replaced itself, and its target is not touched."""
        os.symlink(f"{self.source}/below/file", self.location)
        write_archive(self.location, self.source, "prefix", {})
        self.assertFalse(os.path.islink(self.location))
        with open(f"{self.source}/below/file") as file:
            self.assertEqual(file.read(), "content")

    def test_failure(self) -> None:
        """If the archive cannot be written, the existing file stays and nothing else is left."""
        with open(self.location, "w") as file:
            file.write("old")
        self.assertRaises(OSError, write_archive, self.location, f"{self.source}/none", "prefix", {})
        with open(self.location) as file:
            self.assertEqual(file.read(), "old")
        self.assertEqual(os.listdir(self.place), ["archive.tar"])
