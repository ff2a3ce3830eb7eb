"""Quantities, logs and progress of the demo."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from criwist.demo.log_lines import read_log
from criwist.demo.progress import Progress
from criwist.demo.quantities import cpu_quota, cpu_shares, number_of_bytes
from criwist.quantities import quantity


class QuantityTests(SynchronousTestCase):
    """Kubernetes quantities."""

    def test_forms(self) -> None:
        """Plain, decimal, binary and exponent forms are all understood."""
        for text, value in (
            ("1", 1),
            ("1.5", 1.5),
            ("500m", 0.5),
            ("2k", 2000),
            ("1Ki", 1024),
            ("2e3", 2000),
            ("0.5Gi", 1 << 29),
        ):
            self.assertEqual(float(quantity(text)), value)

    def test_nonsense(self) -> None:
        """A text that is no quantity is a ValueError that quotes it."""
        for text in ("", "fast", "1 Gi", "1gi", "--1", "1e", "0x10"):
            self.assertIn(repr(text), str(self.assertRaises(ValueError, quantity, text)))

    def test_limits_of_kubelet(self) -> None:
        """Tiny CPU values are raised to the kernel's minimum; bytes are rounded up."""
        self.assertEqual((cpu_quota("1m"), cpu_shares("1m"), number_of_bytes("1500m")), (1000, 2, 2))


class LogTests(SynchronousTestCase):
    """Reading a container's log."""

    def read(self, content: bytes) -> list[str]:
        """The lines of a log file with this content."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "0.log")
            path.write_bytes(content)
            return list(read_log(path))

    def test_cri_format(self) -> None:
        """Partial lines are joined, empty lines kept, and spaces belong to the content."""
        time = b"2026-01-01T00:00:00.000000001Z"
        content = b"".join(
            time + rest for rest in (b" stdout P one \n", b" stdout F two\n", b" stderr F \n", b" stdout F  x\n")
        )
        self.assertEqual(self.read(content), ["one two", "", " x"])

    def test_docker_format(self) -> None:
        """Lines of the json-file driver are read too, behind a link or not."""
        content = b'{"log":"a","stream":"stdout","time":"t"}\n{"log":"b\\n","stream":"stdout","time":"t"}\n'
        self.assertEqual(self.read(content), ["ab"])

    def test_missing(self) -> None:
        """A missing log is one line that names the error."""
        (line,) = read_log(Path("/nonexistent/log"))
        self.assertIn("no log", line)


class ProgressTests(SynchronousTestCase):
    """The line of progress."""

    def test_success_and_failure(self) -> None:
        """One line stays at the end, with the outcome and the time."""
        output = io.StringIO()
        times = iter((10.0, 12.5, 20.0, 21.25))
        with Progress("loading", output, lambda: next(times)):
            pass
        self.assertIn("loading: done in 2.5 s\n", output.getvalue())

        def failing() -> None:
            with Progress("pulling", output, lambda: next(times)):
                raise RuntimeError("no")

        self.assertRaises(RuntimeError, failing)
        self.assertIn("pulling: failed after 1.2 s\n", output.getvalue())
