"""Engines' /version and /info are read as far as their members exist."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.docker.facts import engine_facts, negotiated_version
from criwist.engine_differences import NEWEST_API
from criwist.errors import CriwistError, EngineFailure, FailedPrecondition
from criwist.interfaces.engine import RuntimeFacts

OCI = "org.opencontainers.runtime-spec.features"


class NegotiationTests(SynchronousTestCase):
    """Negotiation of the API version."""

    def test_the_lesser_of_both(self) -> None:
        """The negotiated version is the engine's if it is older, else the newest that criwist knows."""
        self.assertEqual(negotiated_version({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}), (1, 41))
        self.assertEqual(negotiated_version({"ApiVersion": "1.99", "MinAPIVersion": "1.40"}), NEWEST_API)
        self.assertEqual(negotiated_version({"ApiVersion": "1.45"}), (1, 45))

    def test_an_engine_that_is_too_old(self) -> None:
        """An engine that is too old is refused; the error has its version and the oldest supported one."""
        error = self.assertRaises(FailedPrecondition, negotiated_version, {"ApiVersion": "1.40", "Version": "19.03"})
        for part in ("19.03", "1.40", "1.41"):
            self.assertIn(part, str(error))

    def test_an_engine_that_is_too_new(self) -> None:
        """An engine that is too new is refused; the error has the newest version that criwist knows."""
        version = {"ApiVersion": "2.9", "MinAPIVersion": "2.0", "Version": "99"}
        self.assertIn("1.56", str(self.assertRaises(FailedPrecondition, negotiated_version, version)))

    def test_an_engine_that_names_none(self) -> None:
        """An engine without an API version is an EngineFailure."""
        for text in (None, "", "1", "one.two", 1.41, "1."):
            self.assertRaises(EngineFailure, negotiated_version, {"ApiVersion": text})


class FactsTests(SynchronousTestCase):
    """EngineFacts of an engine's documents."""

    def facts(self, **info: Any) -> Any:
        """The facts of an engine with these members in /info."""
        return engine_facts({"ApiVersion": "1.45", "Version": "26.1"}, info)

    def test_an_engine_that_says_little(self) -> None:
        """Missing members get defaults, and no features."""
        facts = self.facts()
        self.assertEqual((facts.version, facts.cgroup_driver, facts.cgroup_version), ("26.1", "cgroupfs", 1))
        self.assertEqual((facts.runtimes, facts.security, facts.containerd_store), ({}, frozenset(), False))
        self.assertTrue(facts.swap_limit)

    def test_what_is_said(self) -> None:
        """Every member of the documents is in the facts."""
        facts = self.facts(
            ID="x",
            CgroupDriver="systemd",
            CgroupVersion="2",
            DefaultRuntime="crun",
            DockerRootDir="/data",
            Driver="overlay2",
            LoggingDriver="local",
            KernelVersion="6.12",
            Architecture="aarch64",
            ExperimentalBuild=True,
            LiveRestoreEnabled=True,
            SwapLimit=False,
            SecurityOptions=["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns", "name=rootless"],
        )
        self.assertEqual((facts.id, facts.cgroup_driver, facts.cgroup_version), ("x", "systemd", 2))
        self.assertEqual(
            (facts.default_runtime, facts.root_directory, facts.logging_driver), ("crun", "/data", "local")
        )
        self.assertTrue(facts.experimental and facts.live_restore)
        self.assertFalse(facts.swap_limit)
        self.assertEqual(facts.security, {"apparmor", "seccomp", "cgroupns", "rootless"})

    def test_the_containerd_image_store(self) -> None:
        """The driver's type shows the containerd image store."""
        facts = self.facts(Driver="overlayfs", DriverStatus=[["driver-type", "io.containerd.snapshotter.v1"]])
        self.assertEqual((facts.containerd_store, facts.storage_driver), (True, "overlayfs"))

    def test_features_of_runtimes(self) -> None:
        """Recursive read-only mounts and user namespaces are reported only if the runtime reports them."""
        features = {
            "mountOptions": ["ro", "rro", "rw"],
            "linux": {"namespaces": ["pid", "user"], "mountExtensions": {"idmap": {"enabled": True}}},
        }
        facts = self.facts(
            KernelVersion="5.12.0-1-amd64",
            Runtimes={
                "runc": {"path": "runc", "status": {OCI: json.dumps(features)}},
                "plain": {"path": "plain"},
                "odd": {"status": {OCI: "{"}},
                "none": None,
                "half": {"status": {OCI: json.dumps({"mountOptions": ["ro"], "linux": {"namespaces": ["user"]}})}},
            },
        )
        self.assertEqual(facts.runtimes["runc"], RuntimeFacts("runc", recursive_read_only=True, user_namespaces=True))
        for name in ("plain", "odd", "none", "half"):
            self.assertEqual(facts.runtimes[name], RuntimeFacts(name))

    def test_kernel_that_cannot(self) -> None:
        """A runtime with recursive read-only mounts cannot make them on a kernel before 5.12."""
        runtimes = {"runc": {"status": {OCI: json.dumps({"mountOptions": ["rro"]})}}}
        for release, able in (("5.11.22", False), ("5.12.0-1-amd64", True), ("6.1.0", True), ("", False), ("x", False)):
            facts = self.facts(Runtimes=runtimes, KernelVersion=release)
            self.assertEqual(facts.runtimes["runc"].recursive_read_only, able, release)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_MEMBERS = ["ID", "Runtimes", "SecurityOptions", "DriverStatus", "CgroupVersion", "SwapLimit", "Driver"]


@given(
    st.dictionaries(st.sampled_from(_MEMBERS), _ANY), st.dictionaries(st.sampled_from(["Version", "ApiVersion"]), _ANY)
)
@settings(max_examples=100)
def test_no_answer_is_beyond_it(info: dict[str, Any], version: dict[str, Any]) -> None:
    """Every document gives facts or one of criwist's errors."""
    engine_facts({**version, "ApiVersion": "1.41"}, info)
    try:
        engine_facts(version, info)
    except CriwistError:
        return
