"""Network and mount namespaces of a test session's own.

Functional tests start engines, bridges, packet filter rules and mounts by the dozen.  All of it happens in a network
and a mount namespace that the test process enters once and whose children inherit: nothing collides with an engine of
the machine or with a second test run, the internet cannot be reached even by mistake, and when the last process of
the session is gone the kernel has removed every interface, rule and mount, whatever way the session ended.

What remains shared with the machine are processes and cgroups; ``harness.leftovers`` sees to those.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000

#: State of container runtimes and kubelet that their options cannot move; each session sees an empty one.
_PRIVATE_DIRECTORIES = (
    "/run/cdi",
    "/run/containerd",
    "/run/docker",
    "/run/netns",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)

#: The address of the node that the session pretends to be; one of the block for documentation (RFC 5737).
NODE_ADDRESS = "192.0.2.10"

_entered = False


def enter() -> None:
    """Move the calling process into namespaces of its own.  Repeatable; to be called from the main thread.

    Threads that exist already stay where they are, so this comes before any thread that touches the network.
    """
    global _entered
    if _entered:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")
    _entered = True
    # First cut the tie to the machine's mounts, then share among ourselves, as a node's root is shared.
    _run("mount", "--make-rprivate", "/")
    _run("mount", "--make-rshared", "/")
    for directory in _PRIVATE_DIRECTORIES:
        Path(directory).mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", "mode=0755", "criwist-tests", directory)
        _run("mount", "--make-shared", directory)
    _run("ip", "link", "set", "lo", "up")
    # The node's address, which no loopback rule applies to.
    _run("ip", "link", "add", "node0", "type", "bridge")
    _run("ip", "addr", "add", f"{NODE_ADDRESS}/24", "dev", "node0")
    _run("ip", "link", "set", "node0", "up")


def _run(*command: str) -> None:
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {run.stderr.strip()}")
