"""System calls by ctypes: what an unprivileged process sees of them."""

from __future__ import annotations

import errno
import os
import tempfile
import threading

from twisted.trial.unittest import SynchronousTestCase

from criwist.syscalls import CLONE_NEWNET, MNT_DETACH, MS_BIND, UMOUNT_NOFOLLOW, enter_namespace, mount, unmount


class ErrorTests(SynchronousTestCase):
    """A failed call raises OSError with errno and the path.  None of these calls succeeds, as root or otherwise."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.missing = os.path.join(directory.name, "missing é")

    def test_mount(self) -> None:
        """A mount on a path that does not exist fails with the target's path."""
        with self.assertRaises(OSError) as caught:
            mount("/", self.missing, flags=MS_BIND)
        self.assertIn(caught.exception.errno, (errno.ENOENT, errno.EPERM))
        self.assertEqual(caught.exception.filename, self.missing)
        self.assertEqual(caught.exception.strerror, os.strerror(caught.exception.errno))

    def test_unmount(self) -> None:
        """An unmount of a path that does not exist fails with that path."""
        with self.assertRaises(OSError) as caught:
            unmount(self.missing, MNT_DETACH | UMOUNT_NOFOLLOW)
        self.assertIn(caught.exception.errno, (errno.ENOENT, errno.EPERM))
        self.assertEqual(caught.exception.filename, self.missing)

    def test_enter_namespace_that_is_gone(self) -> None:
        """A namespace path that does not exist fails as open(2) does."""
        with self.assertRaises(FileNotFoundError) as caught:
            enter_namespace(self.missing, CLONE_NEWNET)
        self.assertEqual(caught.exception.filename, self.missing)

    def test_enter_what_is_no_namespace(self) -> None:
        """A namespace of another kind is refused by setns(2); no descriptor stays open."""
        path = "/proc/self/ns/uts"
        before = os.listdir("/proc/self/fd")
        with self.assertRaises(OSError) as caught:
            enter_namespace(path, CLONE_NEWNET)
        self.assertIn(caught.exception.errno, (errno.EINVAL, errno.EPERM))
        self.assertEqual(caught.exception.filename, path)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_errno_belongs_to_the_thread(self) -> None:
        """Calls that fail at the same time in several threads each raise their own errno."""
        found: set[tuple[int, str]] = set()

        def call(path: str) -> None:
            for _ in range(50):
                try:
                    enter_namespace(path, CLONE_NEWNET)
                except OSError as error:
                    found.add((error.errno or 0, error.filename))

        threads = [threading.Thread(target=call, args=(path,)) for path in (self.missing, "/proc/self/ns/uts")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(found), 2)
