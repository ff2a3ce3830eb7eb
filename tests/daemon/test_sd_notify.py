"""Notifications to the service manager, received on real UNIX sockets."""

from __future__ import annotations

import os
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.daemon.sd_notify import SystemdNotifier


class NotifierTests(SynchronousTestCase):
    """The datagrams that arrive at the manager's socket."""

    def manager(self, address: str) -> socket.socket:
        """A socket like a service manager's."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(receiver.close)
        receiver.bind(address)
        return receiver

    def directory(self) -> str:
        """A short path, since UNIX sockets need one."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return directory.name

    def test_socket_in_the_file_system(self) -> None:
        """Readiness and the daemon's stop are one datagram each."""
        path = f"{self.directory()}/notify"
        manager = self.manager(path)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": path})
        notifier.ready()
        notifier.stopping("ending\nsessions")
        self.assertEqual(manager.recv(100), b"READY=1")
        self.assertEqual(manager.recv(100), b"STOPPING=1\nSTATUS=ending sessions")

    def test_abstract_socket(self) -> None:
        """A name with an at sign is in the abstract name space."""
        name = f"criwist-test-notify-{os.getpid()}"
        manager = self.manager("\0" + name)
        SystemdNotifier({"NOTIFY_SOCKET": "@" + name}).ready("serving CRI")
        self.assertEqual(manager.recv(100), b"READY=1\nSTATUS=serving CRI")

    def test_status_alone(self) -> None:
        """A status can be sent without a change of state."""
        path = f"{self.directory()}/notify"
        manager = self.manager(path)
        SystemdNotifier({"NOTIFY_SOCKET": path}).status("Docker is away")
        self.assertEqual(manager.recv(100), b"STATUS=Docker is away")

    def test_nobody_asked(self) -> None:
        """Without the variable, or with an empty one, nothing is sent."""
        SystemdNotifier({}).ready()
        SystemdNotifier({"NOTIFY_SOCKET": ""}).stopping()

    def test_nobody_listens(self) -> None:
        """A socket that is gone, or an invalid name, raises no error."""
        for name in (f"{self.directory()}/gone", "vsock:2:1234", "relative", "/" + "x" * 200):
            SystemdNotifier({"NOTIFY_SOCKET": name}).ready()

    def test_full_socket(self) -> None:
        """A manager that does not read does not block the daemon."""
        path = f"{self.directory()}/notify"
        self.manager(path)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": path})
        for _ in range(600):
            notifier.ready()
