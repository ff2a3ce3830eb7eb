"""The lowest oom_score_adj that an engine may set, from temporary trees of /proc."""

from __future__ import annotations

import os
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.kernel.oom_score_floor import engine_pid, local_oom_score_floor, oom_score_floor

_STATUS = """\
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
Groups:\t
CapInh:\t0
CapPrm:\t{capabilities}
CapEff:\t{capabilities}
CapBnd:\t{capabilities}
CapAmb:\t0
"""
ALL = "000001ffffffffff"
NO_SYS_RESOURCE = "000001fffeffffff"
INITIAL = "         0          0 4294967295\n"


class FloorTests(SynchronousTestCase):
    """The floor of a dockerd process."""

    def setUp(self) -> None:
        """An empty /proc."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.proc = directory.name

    def process(
        self, pid: int, command: str, *, parent: int = 1, score: int = 0, capabilities: str = ALL, ids: str = INITIAL
    ) -> None:
        """Add a process."""
        fields = " ".join(["S", str(parent), *["0"] * 17, "5", *["0"] * 10])
        for name, text in (
            ("comm", command + "\n"),
            ("stat", f"{pid} ({command}) {fields}\n"),
            ("status", _STATUS.format(capabilities=capabilities)),
            ("uid_map", ids),
            ("gid_map", ids),
            ("oom_score_adj", f"{score}\n"),
        ):
            os.makedirs(f"{self.proc}/{pid}", exist_ok=True)
            with open(f"{self.proc}/{pid}/{name}", "w") as file:
                file.write(text)

    def test_capable(self) -> None:
        """With the capability the floor is the kernel's."""
        self.process(10, "dockerd", score=-500)
        self.process(11, "containerd", parent=10, score=-500)
        self.assertEqual(oom_score_floor(10, self.proc), -1000)

    def test_without_the_capability(self) -> None:
        """Without it the floor is the score of the engine's own containerd, whatever the engine's score is."""
        self.process(10, "dockerd", score=-500)
        self.process(11, "containerd", parent=10, score=-100, capabilities=NO_SYS_RESOURCE)
        self.process(12, "containerd", parent=99, score=0)
        self.assertEqual(oom_score_floor(10, self.proc), -100)

    def test_containerd_as_a_service(self) -> None:
        """An engine without its own containerd uses the machine's; that of another engine does not count."""
        self.process(10, "dockerd", capabilities=NO_SYS_RESOURCE)
        self.process(12, "containerd", score=-999, capabilities=NO_SYS_RESOURCE)
        self.process(20, "dockerd", capabilities=NO_SYS_RESOURCE)
        self.process(21, "containerd", parent=20, score=100, capabilities=NO_SYS_RESOURCE)
        self.assertEqual(oom_score_floor(10, self.proc), -999)

    def test_several_services(self) -> None:
        """If several containerds are possible, the floor is one that all of them can set."""
        self.process(10, "dockerd")
        self.process(12, "containerd", score=-999, capabilities=NO_SYS_RESOURCE)
        self.process(13, "containerd", score=-5, capabilities=NO_SYS_RESOURCE)
        self.process(14, "containerd", score=0)
        self.assertEqual(oom_score_floor(10, self.proc), -5)

    def test_no_containerd_seen(self) -> None:
        """If there is no containerd, the floor is the engine's."""
        self.process(10, "dockerd", score=-3, capabilities=NO_SYS_RESOURCE)
        self.assertEqual(oom_score_floor(10, self.proc), -3)

    def test_rootless(self) -> None:
        """Capabilities in the engine's own user namespace do not count."""
        self.process(10, "dockerd", ids="0 100000 65536\n")
        self.process(11, "containerd", parent=10, score=7, ids="0 100000 65536\n")
        self.assertEqual(oom_score_floor(10, self.proc), 7)

    def test_gone(self) -> None:
        """A process that is gone has no known floor."""
        self.assertIsNone(oom_score_floor(10, self.proc))

    def listen(self) -> str:
        """Return the endpoint of a UNIX socket on which the test listens."""
        path = f"{self.proc}/docker.sock"
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        return f"unix://{path}"

    def test_peer(self) -> None:
        """The engine is the process that listens on the socket."""
        endpoint = self.listen()
        self.process(os.getpid(), "dockerd")
        self.process(os.getpid() + 1, "dockerd")
        self.assertEqual(engine_pid(endpoint, self.proc), os.getpid())

    def test_socket_activation(self) -> None:
        """If the service manager created the socket, the engine is the machine's only dockerd."""
        endpoint = self.listen()
        self.process(os.getpid(), "systemd")
        self.process(10, "dockerd", score=-7, capabilities=NO_SYS_RESOURCE)
        self.assertEqual(engine_pid(endpoint, self.proc), 10)
        self.assertEqual(local_oom_score_floor(endpoint, self.proc), -7)
        self.process(20, "dockerd")
        self.assertIsNone(engine_pid(endpoint, self.proc))

    def test_not_from_here(self) -> None:
        """An engine on another machine, or one that does not run, has no known pid."""
        self.process(10, "dockerd")
        self.assertIsNone(local_oom_score_floor("tcp://192.0.2.1:2376", self.proc))
        self.assertIsNone(local_oom_score_floor(f"unix://{self.proc}/none.sock", self.proc))
