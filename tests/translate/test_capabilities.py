"""Capabilities as Docker's CapAdd and CapDrop."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument, Unimplemented
from criwist.translate.capabilities import capabilities


def translated(add: list[str], drop: list[str], ambient: list[str] | None = None) -> dict[str, list[str]]:
    """The members of HostConfig for these lists."""
    capability = pb.Capability(add_capabilities=add, drop_capabilities=drop, add_ambient_capabilities=ambient)
    return capabilities(capability, "capabilities")


class Capabilities(SynchronousTestCase):
    """Added and dropped capabilities."""

    def test_spelling(self) -> None:
        """Docker gets each capability once and in one spelling, however the request writes it."""
        self.assertEqual(translated(["net_admin", "CAP_NET_ADMIN"], []), {"CapAdd": ["CAP_NET_ADMIN"]})

    def test_nothing(self) -> None:
        """Without any lists, the engine's default set stays."""
        self.assertEqual(translated([], []), {})

    def test_drop_all_but_one(self) -> None:
        """With a drop of ALL, only the additions remain."""
        self.assertEqual(translated(["CHOWN"], ["ALL"]), {"CapAdd": ["CAP_CHOWN"], "CapDrop": ["ALL"]})

    def test_add_all_but_one(self) -> None:
        """With an addition of ALL, only the drops are missing."""
        self.assertEqual(translated(["all"], ["CHOWN"]), {"CapAdd": ["ALL"], "CapDrop": ["CAP_CHOWN"]})

    def test_drop_wins(self) -> None:
        """A capability in both lists is dropped; Docker alone would add it."""
        self.assertEqual(translated(["SYS_TIME"], ["CAP_SYS_TIME"]), {"CapDrop": ["CAP_SYS_TIME"]})
        self.assertEqual(translated(["ALL", "CHOWN"], ["ALL"]), {"CapAdd": ["CAP_CHOWN"], "CapDrop": ["ALL"]})

    def test_ambient_is_refused(self) -> None:
        """Ambient capabilities are refused: without them the container would run with less than the request grants."""
        error = self.assertRaises(Unimplemented, translated, [], [], ["NET_BIND_SERVICE"])
        self.assertIn("capabilities.add_ambient_capabilities", str(error))
        self.assertIn("NET_BIND_SERVICE", str(error))

    def test_not_a_name(self) -> None:
        """A text that cannot be a capability's name is refused by its place in the list."""
        error = self.assertRaises(InvalidArgument, translated, ["CHOWN", "NET ADMIN"], [])
        self.assertEqual(error.field, "capabilities.add_capabilities[1]")
