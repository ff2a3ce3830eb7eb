"""Paths inside image trees, and threads that mount; mounting itself needs root and is tested functionally."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.errors import InvalidArgument
from criwist.interfaces.kernel import ILayerMounts
from criwist.kernel.layer_mounts import LayerMounts, resolve_within
from tests.doubles.memory_threads import MemoryThreads


class ResolveTests(SynchronousTestCase):
    """Paths as in a process whose root directory is the tree."""

    def setUp(self) -> None:
        """Create a tree with files and links, and a secret beside it."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = f"{directory.name}/tree"
        os.makedirs(f"{self.root}/a/b")
        for path in (f"{self.root}/a/b/file", f"{directory.name}/secret"):
            with open(path, "w"):
                pass

    def link(self, name: str, target: str) -> None:
        """Create a symbolic link in the tree."""
        os.symlink(target, f"{self.root}/{name}")

    def assertResolves(self, path: str, expected: str) -> None:
        """Assert that *path* leads to *expected*, a path relative to the tree."""
        self.assertEqual(resolve_within(self.root, path), os.path.join(self.root, expected) if expected else self.root)

    def test_plain(self) -> None:
        """Empty components and dots are ignored; a leading slash is the tree."""
        for path in ("a/b", "/a/b", "a//b/", "./a/./b"):
            self.assertResolves(path, "a/b")
        self.assertResolves("", "")
        self.assertResolves("a/b/file", "a/b/file")

    def test_links(self) -> None:
        """Relative and absolute links are followed, absolute ones from the tree's root."""
        self.link("relative", "a/b")
        self.link("absolute", "/a/b")
        self.link("a/up", "../a/b/file")
        self.assertResolves("relative/file", "a/b/file")
        self.assertResolves("absolute/file", "a/b/file")
        self.assertResolves("a/up", "a/b/file")

    def test_no_way_out(self) -> None:
        """Neither ``..`` nor links lead out of the tree."""
        self.link("out", "../../../secret")
        self.link("root", "/")
        self.link("a/out", "/../secret")
        for path in ("out", "../secret", "root/../secret", "a/out", "a/b/../../../../secret"):
            self.assertRaises(FileNotFoundError, resolve_within, self.root, path)
        self.assertResolves("root/../../a", "a")

    def test_missing(self) -> None:
        """A path that does not exist, or is beneath a file, is an error; so is a dangling link."""
        self.link("dangling", "nowhere")
        for path in ("x", "a/x", "dangling"):
            self.assertRaises(FileNotFoundError, resolve_within, self.root, path)
        self.assertRaises(NotADirectoryError, resolve_within, self.root, "a/b/file/x")

    def test_loop(self) -> None:
        """A loop of links is an error."""
        self.link("x", "y")
        self.link("y", "x")
        self.assertRaises(OSError, resolve_within, self.root, "x")

    def test_error_of_the_provider(self) -> None:
        """The provider reports a missing sub path as an invalid argument."""
        pool = MemoryThreads(held=True)
        mounts = LayerMounts(Reactor(), pool, self.root)  # type: ignore[arg-type]
        resolving = Deferred.fromCoroutine(mounts.resolve("a", "x"))
        pool.run()
        failure = self.failureResultOf(resolving, InvalidArgument)
        self.assertEqual(failure.value.field, "image_sub_path")


_NAMES = st.sampled_from(["a", "b", "..", ".", "", "link", "/"])


@settings(max_examples=50, deadline=None)
@given(st.lists(_NAMES, max_size=8).map("/".join), st.lists(_NAMES, max_size=8).map("/".join))
def test_never_out(path: str, target: str) -> None:
    """Every path resolves to one in the tree, without a link in it."""
    with tempfile.TemporaryDirectory() as directory:
        root = os.path.join(os.path.realpath(directory), "tree")
        os.makedirs(f"{root}/a/b")
        os.symlink(target or ".", f"{root}/a/link")
        os.symlink(target or ".", f"{root}/link")
        try:
            resolved = resolve_within(root, path)
        except OSError:
            return
        assert os.path.realpath(resolved) == resolved
        assert resolved == root or resolved.startswith(root + "/")


class ThreadTests(SynchronousTestCase):
    """Work in threads, and callers that cancel."""

    def setUp(self) -> None:
        """Create a provider on a directory without mounts."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.pool = MemoryThreads(held=True)
        self.mounts = LayerMounts(Reactor(), self.pool, directory.name)  # type: ignore[arg-type]

    def test_contract(self) -> None:
        """It provides ILayerMounts; without mounts the result is empty."""
        verifyObject(ILayerMounts, self.mounts)
        asking = Deferred.fromCoroutine(self.mounts.mounted())
        self.pool.run()
        self.assertEqual(self.successResultOf(asking), {})

    def test_cancelled(self) -> None:
        """A cancellation, even a repeated one, is raised when the thread has ended, not before."""
        asking = Deferred.fromCoroutine(self.mounts.mounted())
        asking.cancel()
        asking.cancel()
        self.assertNoResult(asking)
        self.pool.run()
        self.failureResultOf(asking, CancelledError)


class Reactor:
    """A double of a reactor, with the one method that threads need."""

    def callFromThread(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call at once."""
        function(*args, **kwargs)
