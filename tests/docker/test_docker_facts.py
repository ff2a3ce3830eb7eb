"""What engines say of themselves is read as far as it is there."""

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
    """The API version."""

    def test_the_lesser_of_both(self) -> None:
        """The engine's while it is older, ours when it is newer."""
        self.assertEqual(negotiated_version({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}), (1, 41))
        self.assertEqual(negotiated_version({"ApiVersion": "1.99", "MinAPIVersion": "1.40"}), NEWEST_API)
        self.assertEqual(negotiated_version({"ApiVersion": "1.45"}), (1, 45))

    def test_an_engine_that_is_too_old(self) -> None:
        """Says so, with its version and the least one."""
        error = self.assertRaises(FailedPrecondition, negotiated_version, {"ApiVersion": "1.40", "Version": "19.03"})
        for part in ("19.03", "1.40", "1.41"):
            self.assertIn(part, str(error))

    def test_an_engine_that_is_too_new(self) -> None:
        """Says so, with ours."""
        version = {"ApiVersion": "2.9", "MinAPIVersion": "2.0", "Version": "99"}
        self.assertIn("1.56", str(self.assertRaises(FailedPrecondition, negotiated_version, version)))

    def test_an_engine_that_names_none(self) -> None:
        """Is not understood."""
        for text in (None, "", "1", "one.two", 1.41, "1."):
            self.assertRaises(EngineFailure, negotiated_version, {"ApiVersion": text})


class FactsTests(SynchronousTestCase):
    """EngineFacts."""

    def facts(self, **info: Any) -> Any:
        """Of an engine with these members in /info."""
        return engine_facts({"ApiVersion": "1.45", "Version": "26.1"}, info)

    def test_an_engine_that_says_little(self) -> None:
        """Gets defaults, and no features."""
        facts = self.facts()
        self.assertEqual((facts.version, facts.cgroup_driver, facts.cgroup_version), ("26.1", "cgroupfs", 1))
        self.assertEqual((facts.runtimes, facts.security, facts.containerd_store), ({}, frozenset(), False))
        self.assertTrue(facts.swap_limit)

    def test_what_is_said(self) -> None:
        """Is kept."""
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
        """Is told by the driver's type."""
        facts = self.facts(Driver="overlayfs", DriverStatus=[["driver-type", "io.containerd.snapshotter.v1"]])
        self.assertEqual((facts.containerd_store, facts.storage_driver), (True, "overlayfs"))

    def test_features_of_runtimes(self) -> None:
        """Recursive read-only mounts and user namespaces are claimed only where the runtime says so."""
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
        """A runtime that knows recursive read-only mounts does not make them on a kernel before 5.12."""
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
    """Whatever an engine says gives facts or an error of ours."""
    engine_facts({**version, "ApiVersion": "1.41"}, info)
    try:
        engine_facts(version, info)
    except CriwistError:
        return
