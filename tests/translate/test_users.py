"""The user and groups of a container."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.translate.users import Accounts, accounts_wanted, container_user, sandbox_user

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
broken line
alice:x:1003:100:alice:/home/alice:/bin/sh
"""
GROUP = b"""root:x:0:
users:x:100:
extra:x:2000:bob,alice
more:x:2001:alice
odd:x:number:alice
"""


def context(**fields: object) -> pb.LinuxContainerSecurityContext:
    """A security context; run_as_user and run_as_group as numbers."""
    for name in ("run_as_user", "run_as_group"):
        if name in fields:
            fields[name] = pb.Int64Value(value=fields[name])  # type: ignore[arg-type]
    return pb.LinuxContainerSecurityContext(**fields)  # type: ignore[arg-type]


def user(image_user: str = "", **fields: object) -> dict[str, object]:
    """The members of the body for a security context in an image with these accounts."""
    return container_user(context(**fields), "context", accounts=Accounts(PASSWD, GROUP, image_user))


class Users(SynchronousTestCase):
    """User and group."""

    def test_image_user(self) -> None:
        """Without a user in the request, the image's user stays."""
        self.assertEqual(user(), {})

    def test_root_is_a_user(self) -> None:
        """User 0 is different from no user."""
        self.assertEqual(user(run_as_user=0), {"User": "0"})

    def test_by_name(self) -> None:
        """The engine finds a name in the image."""
        self.assertEqual(user(run_as_username="alice"), {"User": "alice"})

    def test_group_without_user(self) -> None:
        """A group without a user is an error, as the CRI demands."""
        error = self.assertRaises(InvalidArgument, user, run_as_group=5)
        self.assertEqual(error.field, "context.run_as_group")

    def test_group_without_user_in_a_sandbox(self) -> None:
        """The rule holds for sandboxes too."""
        sandbox = pb.LinuxSandboxSecurityContext(run_as_group=pb.Int64Value(value=5))
        self.assertRaises(InvalidArgument, sandbox_user, sandbox, "context")

    def test_user_twice(self) -> None:
        """Only one of run_as_user and run_as_username may be given (CRI)."""
        self.assertRaises(InvalidArgument, user, run_as_user=1, run_as_username="alice")

    def test_range(self) -> None:
        """Ids that no engine accepts are refused by their field."""
        for fields, field in (
            ({"run_as_user": -1}, "context.run_as_user"),
            ({"run_as_user": 2**31}, "context.run_as_user"),
            ({"run_as_user": 1, "run_as_group": -1}, "context.run_as_group"),
            ({"supplemental_groups": [1, -1]}, "context.supplemental_groups[1]"),
        ):
            self.assertEqual(self.assertRaises(InvalidArgument, user, **fields).field, field)

    def test_a_group_is_not_smuggled_in(self) -> None:
        """A colon in a name is refused, since Docker would read a group after it."""
        self.assertRaises(InvalidArgument, user, run_as_username="alice:0")

    def test_supplemental_groups(self) -> None:
        """Supplemental groups need no user."""
        self.assertEqual(user(supplemental_groups=[7, 8]), {"GroupAdd": ["7", "8"]})

    def test_sandbox(self) -> None:
        """A sandbox takes user, group and supplemental groups, under either policy."""
        sandbox = pb.LinuxSandboxSecurityContext(
            run_as_user=pb.Int64Value(value=1),
            run_as_group=pb.Int64Value(value=2),
            supplemental_groups=[3],
            supplemental_groups_policy=pb.Strict,
        )
        self.assertEqual(sandbox_user(sandbox, "context"), {"User": "1:2", "GroupAdd": ["3"]})


class Policy(SynchronousTestCase):
    """Merge takes the image's groups of the user in, Strict leaves them out."""

    def test_accounts_wanted(self) -> None:
        """The image's files are needed where Docker's own rule differs from the policy's."""
        self.assertFalse(accounts_wanted(context(run_as_user=1), "context"))
        self.assertTrue(accounts_wanted(context(run_as_user=1, run_as_group=2), "context"))
        self.assertTrue(accounts_wanted(context(run_as_user=1, supplemental_groups_policy=pb.Strict), "context"))
        strict = context(run_as_user=1, run_as_group=2, supplemental_groups_policy=pb.Strict)
        self.assertFalse(accounts_wanted(strict, "context"))

    def test_merge_beside_a_group(self) -> None:
        """If the request has a group, Docker omits the image's groups; they are added by number."""
        for who in ({"run_as_user": 1003}, {"run_as_username": "alice"}):
            (name,) = who.values()
            self.assertEqual(
                user(**who, run_as_group=5, supplemental_groups=[2001]),
                {"User": f"{name}:5", "GroupAdd": ["2001", "2000"]},
            )

    def test_merge_of_an_unknown_user(self) -> None:
        """A number that the image does not know is in none of its groups."""
        self.assertEqual(user(run_as_user=7, run_as_group=5), {"User": "7:5"})

    def test_strict_keeps_the_primary_group(self) -> None:
        """Strict omits the image's groups, except for the user's primary group."""
        strict: dict[str, Any] = {"supplemental_groups_policy": pb.Strict, "supplemental_groups": [9]}
        self.assertEqual(user(run_as_user=1003, **strict), {"User": "1003:100", "GroupAdd": ["9"]})
        self.assertEqual(user(run_as_username="alice", **strict), {"User": "alice:100", "GroupAdd": ["9"]})
        self.assertEqual(user(run_as_user=7, **strict), {"User": "7:0", "GroupAdd": ["9"]})

    def test_strict_with_the_images_user(self) -> None:
        """The image's own user and group count as if the request had them."""
        strict: dict[str, Any] = {"supplemental_groups_policy": pb.Strict}
        self.assertEqual(user("alice", **strict), {"User": "alice:100"})
        self.assertEqual(user("alice:more", **strict), {"User": "alice:more"})
        self.assertEqual(user("", **strict), {"User": "0:0"})

    def test_without_accounts(self) -> None:
        """A policy that cannot be applied is refused."""
        strict = context(supplemental_groups_policy=pb.Strict)
        error = self.assertRaises(FailedPrecondition, container_user, strict, "context", accounts=None)
        self.assertIn("supplemental_groups_policy", str(error))
