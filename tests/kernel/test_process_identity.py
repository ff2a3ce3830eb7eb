"""Users, groups and capabilities of processes."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import NotFound
from criwist.kernel.process_identity import OVERFLOW_ID, parse_identity, read_identity

STATUS = """\
Name:\tsleep
Uid:\t1000\t0\t0\t0
Gid:\t3000\t0\t0\t0
Groups:\t2000 4000
CapInh:\t0000000000000000
CapPrm:\t00000000a80425fb
CapEff:\t00000000a80425fa
CapBnd:\t000001fffeffffff
CapAmb:\t0000000000000400
NoNewPrivs:\t1
"""


class IdentityTests(SynchronousTestCase):
    """The text of status."""

    def test_real_ids(self) -> None:
        """Real ids count: a set-user-id program changes the effective ones only."""
        identity = parse_identity(STATUS)
        self.assertEqual((identity.uid, identity.gid, identity.groups), (1000, 3000, (2000, 4000)))

    def test_capabilities(self) -> None:
        """The five masks and no_new_privs are read from their own lines."""
        identity = parse_identity(STATUS)
        self.assertEqual(identity.inheritable, 0)
        self.assertEqual(identity.permitted, 0xA80425FB)
        self.assertEqual(identity.effective, 0xA80425FA)
        self.assertEqual(identity.bounding, 0x1FFFEFFFFFF)
        self.assertEqual(identity.ambient, 0x400)
        self.assertTrue(identity.no_new_privs)

    def test_no_groups(self) -> None:
        """A process may have no supplementary groups."""
        self.assertEqual(parse_identity(STATUS.replace("2000 4000", "")).groups, ())

    def test_user_namespace(self) -> None:
        """Ids of a remapped container are those inside its namespace; an id outside the map is the overflow id."""
        identity = parse_identity(STATUS, "0 500 600\n", "0 100000 10\n10 3000 1000\n")
        self.assertEqual(identity.uid, 500)
        self.assertEqual(identity.gid, 10)
        self.assertEqual(identity.groups, (OVERFLOW_ID, OVERFLOW_ID))

    def test_own_process(self) -> None:
        """The test's own identity in the real /proc is what the system calls return."""
        identity = read_identity(os.getpid())
        self.assertEqual((identity.uid, identity.gid), (os.getuid(), os.getgid()))
        self.assertEqual(set(identity.groups), set(os.getgroups()))

    def test_gone(self) -> None:
        """A process that is gone is NotFound."""
        self.assertRaises(NotFound, read_identity, 2**22 + 1)
