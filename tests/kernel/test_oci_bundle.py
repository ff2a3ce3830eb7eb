"""The OCI specification of a running container."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from criwist.kernel.oci_bundle import runtime_spec

ID = "0123456789abcdef" * 4
SPEC = {"ociVersion": "1.0.2", "process": {"args": ["sh"]}}


class BundleTests(SynchronousTestCase):
    """A process tree of two: the shim, 10, and the container's first process, 11."""

    def setUp(self) -> None:
        """Create the files."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.bundle = self.root / "tasks" / ID
        self.bundle.mkdir(parents=True)
        self.proc = self.root / "proc"
        for pid in (10, 11):
            (self.proc / str(pid)).mkdir(parents=True)
        (self.proc / "11/stat").write_text("11 (sh) S 10 11 11" + " 0" * 13 + " 1 0 77 0\n")
        (self.proc / "10/cwd").symlink_to(self.bundle.absolute())
        self.write(json.dumps(SPEC))

    def write(self, text: str) -> None:
        """Write the bundle's specification."""
        (self.bundle / "config.json").write_text(text)

    def test_it_lies_where_the_shim_is(self) -> None:
        """The bundle is the working directory of the first process's parent."""
        self.assertEqual(runtime_spec(11, ID, str(self.proc)), SPEC)

    def test_another_container_s_is_none(self) -> None:
        """A directory that does not have the id as its name is not the container's bundle."""
        self.assertIsNone(runtime_spec(11, ID[::-1], str(self.proc)))

    def test_what_cannot_be_read_is_none(self) -> None:
        """The result is None if the process or the file is gone, or the file is too long, no JSON or no object."""
        self.assertIsNone(runtime_spec(12, ID, str(self.proc)))
        for text in ("{", "[]", json.dumps({"a": "x" * (1 << 20)})):
            self.write(text)
            self.assertIsNone(runtime_spec(11, ID, str(self.proc)))
        (self.bundle / "config.json").unlink()
        self.assertIsNone(runtime_spec(11, ID, str(self.proc)))
