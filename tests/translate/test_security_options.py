"""Seccomp, AppArmor, SELinux and no-new-privileges as Docker's SecurityOpt."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.translate.security import (
    LOADED_PROFILES,
    container_security_options,
    needed_profiles,
    sandbox_security_options,
)
from tests.translate.outcomes import NEWEST, OLDEST

PROFILE = '{\n  "defaultAction": "SCMP_ACT_ERRNO", "comment": "ü" }\n'
FILES = {"/p.json": PROFILE.encode()}


def options(*, engine=NEWEST, files=FILES, **fields) -> list[str]:  # type: ignore[no-untyped-def]
    """The options of a container with these security context fields."""
    context = pb.LinuxContainerSecurityContext(**fields)
    return container_security_options(context, "context", engine=engine, files=files)


class Seccomp(SynchronousTestCase):
    """The seccomp profile."""

    def test_absent_is_unconfined(self) -> None:
        """An empty profile is unconfined, as the CRI defines."""
        self.assertEqual(options(), ["seccomp=unconfined"])

    def test_default_is_the_engines(self) -> None:
        """The runtime's default needs no option, in any of its spellings."""
        for fields in (
            {"seccomp": pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)},
            {"seccomp_profile_path": "runtime/default"},
            {"seccomp_profile_path": "docker/default"},
        ):
            self.assertEqual(options(**fields), [])

    def test_localhost_goes_through_unaltered(self) -> None:
        """The engine gets the file's text unchanged, in both spellings."""
        profile = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="/p.json")
        self.assertEqual(options(seccomp=profile), [f"seccomp={PROFILE}"])
        self.assertEqual(options(seccomp_profile_path="localhost//p.json"), [f"seccomp={PROFILE}"])

    def test_message_wins_over_string(self) -> None:
        """If a kubelet sends both spellings, the newer one wins."""
        default = pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
        self.assertEqual(options(seccomp=default, seccomp_profile_path="unconfined"), [])

    def test_needed_files(self) -> None:
        """The file of a localhost profile is needed, by its absolute path, unless the container is privileged."""
        context = pb.LinuxContainerSecurityContext(seccomp_profile_path="localhost//p.json")
        self.assertEqual(needed_profiles(context, "context", privileged=False), ("/p.json",))
        self.assertEqual(needed_profiles(context, "context", privileged=True), ())

    def test_missing_file_is_named(self) -> None:
        """A profile that does not exist is an error that names the field and the file."""
        profile = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="/missing.json")
        error = self.assertRaises(FailedPrecondition, options, seccomp=profile)
        self.assertIn("context.seccomp.localhost_ref", str(error))
        self.assertIn("/missing.json", str(error))

    def test_relative_path_is_refused(self) -> None:
        """A localhost profile is an absolute path (CRI)."""
        self.assertRaises(InvalidArgument, options, seccomp_profile_path="localhost/p.json")

    def test_unknown_string_is_refused(self) -> None:
        """A string of an unknown form is refused."""
        error = self.assertRaises(InvalidArgument, options, seccomp_profile_path="default")
        self.assertEqual(error.field, "context.seccomp_profile_path")

    def test_bytes_that_are_not_text_are_refused(self) -> None:
        """Bytes that are not text are refused, since the Engine API carries text only."""
        self.assertRaises(
            InvalidArgument, options, seccomp_profile_path="localhost//p.json", files={"/p.json": b"\xff"}
        )

    def test_kernel_without_seccomp(self) -> None:
        """Without seccomp in the kernel a profile is refused, and unconfined is accepted."""
        engine = evolve(NEWEST, security=frozenset())
        self.assertRaises(FailedPrecondition, options, engine=engine, seccomp_profile_path="runtime/default")
        self.assertEqual(options(engine=engine), ["seccomp=unconfined"])

    def test_privileged_is_not_restricted(self) -> None:
        """Seccomp restrictions are not applied to a privileged container (CRI), whatever profile it names."""
        self.assertEqual(options(privileged=True, seccomp_profile_path="localhost//missing"), [])


class AppArmor(SynchronousTestCase):
    """The AppArmor profile."""

    def test_forms(self) -> None:
        """Each form of both spellings, on a host that has AppArmor."""
        kinds = pb.SecurityProfile
        for fields, expected in (
            ({"apparmor_profile": "runtime/default"}, []),
            ({"apparmor_profile": "unconfined"}, ["apparmor=unconfined"]),
            ({"apparmor_profile": "localhost/mine"}, ["apparmor=mine"]),
            ({"apparmor": kinds(profile_type=kinds.RuntimeDefault)}, []),
            ({"apparmor": kinds(profile_type=kinds.Unconfined)}, ["apparmor=unconfined"]),
            ({"apparmor": kinds(profile_type=kinds.Localhost, localhost_ref="mine")}, ["apparmor=mine"]),
            ({"apparmor": kinds(profile_type=kinds.Localhost, localhost_ref="localhost/mine")}, ["apparmor=mine"]),
        ):
            self.assertEqual(options(seccomp_profile_path="runtime/default", **fields), expected)

    def test_kernel_without_apparmor(self) -> None:
        """Without AppArmor in the kernel a profile is refused by the field's name, and unconfined is accepted."""
        error = self.assertRaises(FailedPrecondition, options, engine=OLDEST, apparmor_profile="localhost/mine")
        self.assertIn("context.apparmor_profile", str(error))
        self.assertIn("AppArmor", str(error))
        for profile in ("", "unconfined", "runtime/default"):
            self.assertEqual(options(engine=OLDEST, apparmor_profile=profile), ["seccomp=unconfined"])

    def test_profile_that_is_not_loaded(self) -> None:
        """A profile that is not loaded is refused by field and name; stacked names are the kernel's to resolve."""
        files = {LOADED_PROFILES: b"docker-default (enforce)\nmine (complain)\na (b)//c (kill)\n"}
        for name in ("mine", "a (b)//c", "mine//&docker-default", ":other:mine"):
            self.assertIn(f"apparmor={name}", options(files=files, apparmor_profile=f"localhost/{name}"))
        error = self.assertRaises(FailedPrecondition, options, files=files, apparmor_profile="localhost/min")
        self.assertIn("context.apparmor_profile: the AppArmor profile 'min' is not loaded", str(error))

    def test_needed_file(self) -> None:
        """The kernel's list is needed if a profile is named, also for privileged containers."""
        context = pb.LinuxContainerSecurityContext(apparmor_profile="localhost/mine")
        for privileged in (False, True):
            self.assertEqual(needed_profiles(context, "context", privileged=privileged), (LOADED_PROFILES,))
        self.assertEqual(needed_profiles(pb.LinuxSandboxSecurityContext(), "context", privileged=False), ())

    def test_privileged_container_may_name_a_profile(self) -> None:
        """A privileged container gets the profile that it names."""
        self.assertEqual(options(privileged=True, apparmor_profile="localhost/mine"), ["apparmor=mine"])


class Labels(SynchronousTestCase):
    """SELinux labels and no-new-privileges."""

    def test_parts(self) -> None:
        """Each part that is given is an option of its own, for every engine."""
        label = pb.SELinuxOption(user="u", role="r", type="t", level="s0:c1,c2")
        expected = ["label=user:u", "label=role:r", "label=type:t", "label=level:s0:c1,c2"]
        self.assertEqual(options(privileged=True, selinux_options=label), expected)
        self.assertEqual(options(privileged=True, selinux_options=label, engine=OLDEST), expected)
        self.assertEqual(options(privileged=True, selinux_options=pb.SELinuxOption(level="s0")), ["label=level:s0"])

    def test_no_new_privileges(self) -> None:
        """If the request sets it, the option is there; else the daemon's default applies."""
        self.assertEqual(options(privileged=True, no_new_privs=True), ["no-new-privileges"])


class Sandbox(SynchronousTestCase):
    """The pause container."""

    def test_default(self) -> None:
        """By default the pause container gains no privileges and keeps the engine's seccomp profile."""
        context = pb.LinuxSandboxSecurityContext()
        self.assertEqual(sandbox_security_options(context, "context", engine=NEWEST, files={}), ["no-new-privileges"])

    def test_as_asked(self) -> None:
        """The options of the pod's security context are passed on, for a privileged pod too."""
        context = pb.LinuxSandboxSecurityContext(
            privileged=True,
            seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined),
            apparmor=pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="mine"),
            selinux_options=pb.SELinuxOption(level="s0"),
        )
        self.assertEqual(
            sandbox_security_options(context, "context", engine=NEWEST, files={}),
            ["no-new-privileges", "seccomp=unconfined", "apparmor=mine", "label=level:s0"],
        )
