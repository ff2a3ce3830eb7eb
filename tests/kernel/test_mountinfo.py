"""Parsing mountinfo."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from criwist.kernel.mountinfo import Mount, parse_mountinfo


class ParseTests(SynchronousTestCase):
    """Lines as kernels write them."""

    def test_every_field(self) -> None:
        """A line with several optional fields is parsed up to the separator."""
        line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue\n"
        self.assertEqual(
            parse_mountinfo(line),
            [
                Mount(
                    id=36,
                    root="/mnt1",
                    point="/mnt2",
                    options=frozenset({"rw", "noatime"}),
                    propagation=frozenset({"master:1", "propagate_from:2"}),
                    type="ext3",
                    source="/dev/root",
                    super_options=("rw", "errors=continue"),
                )
            ],
        )

    def test_no_optional_fields(self) -> None:
        """A private mount has no optional fields."""
        [mount] = parse_mountinfo("1 0 0:1 / / rw - tmpfs none rw\n")
        self.assertEqual(mount.propagation, frozenset())

    def test_escapes(self) -> None:
        """Octal escapes stand for blank, tab, newline and backslash."""
        [mount] = parse_mountinfo("1 0 0:1 / /a\\040b\\134c\\011d\\012e rw - tmpfs x\\040y rw\n")
        self.assertEqual(mount.point, "/a b\\c\td\ne")
        self.assertEqual(mount.source, "x y")

    def test_dash_as_a_path(self) -> None:
        """A dash among the first six fields is not the separator."""
        [mount] = parse_mountinfo("1 0 0:1 - - rw shared:1 - tmpfs - rw\n")
        self.assertEqual((mount.root, mount.point, mount.type), ("-", "-", "tmpfs"))
