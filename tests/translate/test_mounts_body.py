"""Mounts as Docker's Mounts and Binds."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.engine_differences import IMAGE_MOUNTS
from criwist.errors import FailedPrecondition, InvalidArgument, Unimplemented
from criwist.interfaces.engine import EngineFacts, RuntimeFacts
from criwist.translate.mounts import host_directories, image_mounts_wanted, mounts_body
from tests.translate.outcomes import NEWEST, OLDEST

#: An engine of the middle: it creates mount points, and knows nothing newer.
MIDDLE = evolve(OLDEST, api_version=(1, 43))
ID = "sha256:" + "1" * 64
IMAGE = pb.ImageSpec(image="model:1")


def body(*mounts: pb.Mount, engine: EngineFacts = OLDEST, **arguments: Any) -> dict[str, Any]:
    """The members of HostConfig for these mounts."""
    arguments.setdefault("image_mounts", {})
    return mounts_body(mounts, "mounts", runtime="", engine=engine, **arguments)


def bind(**fields: Any) -> pb.Mount:
    """A bind mount of /host at /in."""
    return pb.Mount(**{"host_path": "/host", "container_path": "/in", **fields})


class Binds(SynchronousTestCase):
    """Host paths."""

    def test_plain(self) -> None:
        """A bind mount has no propagation: the engine chooses its private one."""
        self.assertEqual(body(bind()), {"Mounts": [{"Type": "bind", "Source": "/host", "Target": "/in"}]})

    def test_propagation(self) -> None:
        """The other two propagations are recursive."""
        for propagation, word in (
            (pb.PROPAGATION_HOST_TO_CONTAINER, "rslave"),
            (pb.PROPAGATION_BIDIRECTIONAL, "rshared"),
        ):
            (mount,) = body(bind(propagation=propagation))["Mounts"]
            self.assertEqual(mount["BindOptions"], {"Propagation": word})

    def test_order(self) -> None:
        """Mounts stay in the request's order."""
        made = body(bind(container_path="/b"), bind(container_path="/a"))
        self.assertEqual([mount["Target"] for mount in made["Mounts"]], ["/b", "/a"])

    def test_any_path(self) -> None:
        """Colons and commas in a path have no special meaning."""
        (mount,) = body(bind(host_path="/a:b,ro", container_path="/c:ro"))["Mounts"]
        self.assertEqual((mount["Source"], mount["Target"]), ("/a:b,ro", "/c:ro"))

    def test_relative_host_path(self) -> None:
        """A relative path is refused, since Docker would take it for the name of a volume."""
        error = self.assertRaises(InvalidArgument, body, bind(), bind(host_path="data"))
        self.assertEqual(error.field, "mounts[1].host_path")

    def test_missing_host_path(self) -> None:
        """A missing host path becomes a directory: the caller makes it before API 1.42, the engine from then on."""
        config = pb.ContainerConfig(mounts=[bind(), pb.Mount(container_path="/i", image=IMAGE)])
        self.assertEqual(host_directories(config, engine=OLDEST), ("/host",))
        self.assertEqual(host_directories(config, engine=MIDDLE), ())
        self.assertEqual(body(bind(), engine=MIDDLE)["Mounts"][0]["BindOptions"], {"CreateMountpoint": True})

    def test_unsupported(self) -> None:
        """Options that Docker's mounts lack are refused by the field's name."""
        mapping = pb.IDMapping(length=1)
        for fields in ({"uidMappings": [mapping]}, {"gidMappings": [mapping]}, {"mount_options": ["noexec"]}):
            error = self.assertRaises(Unimplemented, body, bind(**fields))
            self.assertIn(f"mounts[0].{next(iter(fields))}", str(error))


class ReadOnly(SynchronousTestCase):
    """Read-only mounts, and recursively read-only ones."""

    def test_plain_is_not_recursive(self) -> None:
        """Engines that make read-only mounts recursive by default get an option against it."""
        self.assertNotIn("BindOptions", body(bind(readonly=True))["Mounts"][0])
        (mount,) = body(bind(readonly=True), engine=NEWEST)["Mounts"]
        self.assertTrue(mount["ReadOnly"])
        self.assertEqual(mount["BindOptions"], {"CreateMountpoint": True, "ReadOnlyNonRecursive": True})

    def test_recursive(self) -> None:
        """If the runtime can, the engine must fail rather than make the mount less than recursive."""
        (mount,) = body(bind(readonly=True, recursive_read_only=True), engine=NEWEST)["Mounts"]
        self.assertEqual(
            mount["BindOptions"],
            {"CreateMountpoint": True, "ReadOnlyForceRecursive": True, "Propagation": "rprivate"},
        )

    def test_rules(self) -> None:
        """A recursively read-only mount must be read-only and private (CRI)."""
        for fields in ({}, {"readonly": True, "propagation": pb.PROPAGATION_HOST_TO_CONTAINER}):
            error = self.assertRaises(InvalidArgument, body, bind(recursive_read_only=True, **fields), engine=NEWEST)
            self.assertEqual(error.field, "mounts[0].recursive_read_only")

    def test_needs_the_runtime(self) -> None:
        """A runtime, or an engine, without recursive read-only mounts is named in the error."""
        mount = bind(readonly=True, recursive_read_only=True)
        without = evolve(NEWEST, runtimes={"runc": RuntimeFacts("runc")})
        for engine in (OLDEST, without):
            error = self.assertRaises(FailedPrecondition, body, mount, engine=engine)
            self.assertIn("'runc'", str(error))


class Relabelling(SynchronousTestCase):
    """SELinux relabelling, for which the Engine API has the textual form only."""

    def test_without_selinux(self) -> None:
        """Without SELinux nothing is relabelled."""
        self.assertEqual(body(bind(selinux_relabel=True)), body(bind()))

    def test_with_selinux(self) -> None:
        """The host path gets a label that only this pod's containers have; the engine creates a missing path."""
        relabelled = bind(selinux_relabel=True, readonly=True, propagation=pb.PROPAGATION_HOST_TO_CONTAINER)
        self.assertEqual(body(relabelled, engine=NEWEST), {"Binds": ["/host:/in:ro,Z,rslave"]})
        old = evolve(OLDEST, security=frozenset({"selinux"}))
        self.assertEqual(host_directories(pb.ContainerConfig(mounts=[relabelled]), engine=old), ())

    def test_colon(self) -> None:
        """A path that the textual form cannot carry is refused."""
        for name in ("host_path", "container_path"):
            error = self.assertRaises(
                InvalidArgument, body, bind(selinux_relabel=True, **{name: "/a:b"}), engine=NEWEST
            )
            self.assertEqual(error.field, f"mounts[0].{name}")


class Images(SynchronousTestCase):
    """Image volumes."""

    def image(self, **fields: Any) -> pb.Mount:
        """A mount of an image at /in."""
        return pb.Mount(**{"container_path": "/in", "image": IMAGE, "readonly": True, **fields})

    def test_by_the_engine(self) -> None:
        """From API 1.48 on the engine mounts images, with their sub paths."""
        self.assertTrue(IMAGE_MOUNTS.supported_by(NEWEST))
        expected = {"Type": "image", "Source": ID, "Target": "/in", "ReadOnly": True}
        self.assertEqual(body(self.image(), engine=NEWEST, image_mounts={0: ID})["Mounts"], [expected])
        (mount,) = body(self.image(image_sub_path="a/b"), engine=NEWEST, image_mounts={0: ID})["Mounts"]
        self.assertEqual(mount["ImageOptions"], {"Subpath": "a/b"})

    def test_one_image_more_than_once(self) -> None:
        """An engine mounts a source once in a container, so each further mount of an image has another source."""
        mounts = [self.image(container_path=f"/{number}") for number in range(34)]
        asked = body(*mounts[:33], engine=NEWEST, image_mounts=dict.fromkeys(range(33), ID))["Mounts"]
        sources = [mount["Source"] for mount in asked]
        self.assertEqual(sources[:3], [ID, "1" * 63, "1" * 62])
        self.assertEqual(len(set(sources)), 33)
        too_many = dict.fromkeys(range(34), ID)
        error = self.assertRaises(FailedPrecondition, body, *mounts, engine=NEWEST, image_mounts=too_many)
        self.assertIn("mounts[33].image", str(error))

    def test_by_the_caller(self) -> None:
        """An older engine gets the place of the caller's mount; a lost mount must not become an empty directory."""
        self.assertFalse(IMAGE_MOUNTS.supported_by(OLDEST))
        wanted = pb.ContainerConfig(mounts=[bind(), self.image()])
        self.assertEqual(list(image_mounts_wanted(wanted)), [1])
        (_, mount) = body(bind(), self.image(), engine=MIDDLE, image_mounts={1: "/images/x"})["Mounts"]
        self.assertEqual((mount["Type"], mount["Source"], mount["ReadOnly"]), ("bind", "/images/x", True))
        self.assertEqual(mount["BindOptions"], {"CreateMountpoint": False})

    def test_recursively_read_only(self) -> None:
        """The rules of recursion apply to images too; an image that the engine mounts has no mounts beneath."""
        mount = self.image(recursive_read_only=True)
        error = self.assertRaises(FailedPrecondition, body, mount, image_mounts={0: "/images/x"})
        self.assertIn("mounts[0].recursive_read_only", str(error))
        plain = body(self.image(), engine=NEWEST, image_mounts={0: ID})
        self.assertEqual(body(mount, engine=NEWEST, image_mounts={0: ID}), plain)
        before = evolve(NEWEST, api_version=(1, 47))
        (bound,) = body(mount, engine=before, image_mounts={0: "/images/x"})["Mounts"]
        self.assertTrue(bound["BindOptions"]["ReadOnlyForceRecursive"])

    def test_not_mounted(self) -> None:
        """An image that is not mounted is refused."""
        self.assertRaises(FailedPrecondition, body, self.image())

    def test_rules(self) -> None:
        """An image is mounted read-only and privately, and has no host path."""
        for fields, field in (
            ({"readonly": False}, "readonly"),
            ({"propagation": pb.PROPAGATION_BIDIRECTIONAL}, "propagation"),
            ({"host_path": "/host"}, "host_path"),
            ({"image": pb.ImageSpec()}, "image.image"),
            ({"image_sub_path": "/a"}, "image_sub_path"),
            ({"image_sub_path": "a/../../b"}, "image_sub_path"),
        ):
            error = self.assertRaises(InvalidArgument, body, self.image(**fields), engine=NEWEST)
            self.assertEqual(error.field, f"mounts[0].{field}")

    def test_sub_path_without_image(self) -> None:
        """A sub path needs an image."""
        self.assertRaises(InvalidArgument, body, bind(image_sub_path="a"))
