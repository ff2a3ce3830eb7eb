"""Command line of the node: ``python -m tools.node image``, ``test [PYTEST ARGUMENT…]``, ``shell``.

``test`` runs tests below ``tests/node`` on this machine, against a node that they may reboot, and all others in the
node.  After a failure ``.cache/node/run`` has the console, the journal, and the logs of the engine and the tests.

``CRIWIST_NODE_CGROUP=v1`` boots with cgroups of version 1, ``CRIWIST_NODE_ACCEL`` names kvm or tcg,
``CRIWIST_NODE_LIMIT`` is the time limit of a test run in minutes (120, or 1200 for everything), and
``CRIWIST_NODE_ALL=1`` runs everything.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from tools.node.guest import CommandFailed, Guest
from tools.node.image import Image, image
from tools.node.install import install, install_tests, pytest_command
from tools.node.machine import CGROUP_V1, Machine, only_one
from tools.node.places import ROOT, RUN, Trouble
from tools.node.selection import everything, inside

#: Emulation is about this many times slower.
_TIME_FACTOR = "10"
_FROM_OUTSIDE = "tests/node"

#: Time limits of a run in minutes, by default and with everything.
_LIMIT, _LIMIT_OF_EVERYTHING = 120, 1200
#: Seconds for which the machine exists longer than that, so that evidence can be fetched.
_GRACE = 900.0
#: Controllers of version 1 that engines need to limit anything; distributions build kernels from 6.12 on without them.
_V1_CONTROLLERS = "cpu cpuset memory pids"
#: ssh's exit status when the connection is lost.
_CONNECTION_LOST = 255

#: Files to fetch after a failure, and the commands that write them.
_EVIDENCE = {
    "journal.log": "journalctl --no-pager --boot=all 2>/dev/null || journalctl --no-pager",
    "units.log": "systemctl --no-pager --full status criwist docker containerd; systemctl --no-pager --failed",
    "engine.log": "docker version; docker info; docker ps -a",
    "mounts.log": "cat /proc/self/mountinfo",
    "tests.tar": "cd /var/tmp && tar -c --exclude=*/data/* criwist-tests-* 2>/dev/null",
}


@contextlib.contextmanager
def _stage(name: str) -> Iterator[None]:
    """Print the name of a stage, and how long it took."""
    print(f"node: {name} …", flush=True)
    began = time.monotonic()
    try:
        yield
    finally:
        print(f"node: {name}: {time.monotonic() - began:.0f} s", flush=True)


@contextlib.contextmanager
def _node(limit: float) -> Iterator[tuple[Guest, Image]]:
    """Start a node; yield it and its image.  It is powered off at the end; if the body raises, evidence is kept."""
    options = {"": "", "v2": "", "v1": CGROUP_V1}.get(os.environ.get("CRIWIST_NODE_CGROUP", ""))
    if options is None:
        raise Trouble("CRIWIST_NODE_CGROUP: expected v1 or v2")
    with only_one():
        with _stage("image"):
            built = image()
        machine = Machine(built, options, limit)
        guest: Guest | None = None
        try:
            with _stage("boot"):
                guest = machine.start()
            if options:
                _require_cgroup_v1(guest)
            yield guest, built
        except (CommandFailed, subprocess.SubprocessError) as error:
            if guest is not None:
                _keep_evidence(guest)
            raise Trouble(f"{_message(error)}\nthe console ends:\n{machine.console_tail()}") from error
        finally:
            with _stage("power off"):
                machine.power_off(guest)


def _message(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not finished within {error.timeout:.0f} s: {error.cmd[-1]}"
    return str(error)


def _require_cgroup_v1(guest: Guest) -> None:
    # systemd creates a directory for each controller that the kernel lists, even if it cannot be mounted.
    missing = guest.run(
        f"cd /sys/fs/cgroup; for name in {_V1_CONTROLLERS}; do test -e $name/tasks || echo $name; done"
    ).split()
    if missing:
        kernel = guest.run("uname -r").strip()
        raise Trouble(f"CRIWIST_NODE_CGROUP=v1: Linux {kernel} lacks controllers of version 1: {', '.join(missing)}")


def _keep_evidence(guest: Guest) -> None:
    for name, command in _EVIDENCE.items():
        with contextlib.suppress(subprocess.SubprocessError):
            guest.fetch(command, RUN / name, within=120)
    print(f"node: journal and logs are in {RUN}", flush=True)


def test(arguments: Sequence[str]) -> int:
    """Run tests, and return 0 if all passed."""
    default = _LIMIT_OF_EVERYTHING if everything() else _LIMIT
    limit = 60 * float(os.environ.get("CRIWIST_NODE_LIMIT", default))
    deadline = time.monotonic() + limit
    outside, within = divide(arguments)
    status = 0
    with _node(limit + _GRACE) as (guest, built):
        with _stage("install"):
            install(guest, built)
        if outside is not None:
            with _stage("tests of the node"):
                status |= _run_outside(guest, outside, deadline - time.monotonic())
        if within is not None:
            with _stage("install the tests"):
                install_tests(guest, built, [word for word in within if word.startswith("tests")])
            with _stage("tests in the node"):
                status |= _run_inside(guest, within, deadline - time.monotonic())
        if status != 0:
            _keep_evidence(guest)
    return status


def _run_outside(guest: Guest, arguments: Sequence[str], limit: float) -> int:
    variables = os.environ | environment() | {"CRIWIST_NODE": str(guest.save())}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, check=False, timeout=limit).returncode


def _run_inside(guest: Guest, arguments: Sequence[str], limit: float) -> int:
    status = guest.stream(pytest_command(arguments, environment()), within=limit)
    if status == _CONNECTION_LOST:
        raise CommandFailed("the connection to the node was lost during the tests")
    return status


def divide(arguments: Sequence[str]) -> tuple[list[str] | None, list[str] | None]:
    """Return the arguments of pytest outside and inside the node; None where there is nothing to run."""
    paths = [word for word in arguments if word.startswith("tests")] or [_FROM_OUTSIDE, *inside()]
    others = [word for word in arguments if not word.startswith("tests")]
    outside = [path for path in paths if path.startswith(_FROM_OUTSIDE)]
    within = [path for path in paths if not path.startswith(_FROM_OUTSIDE)]
    return ([*outside, *others] if outside else None), ([*within, *others] if within else None)


def environment() -> dict[str, str]:
    """Return the environment variables that describe the node to the tests."""
    return {
        "CRIWIST_TEST_REQUIRED": "1",
        "CRIWIST_TEST_NODE": "1",
        "CRIWIST_TEST_SYSTEMD_CGROUPS": "1",
        "CRIWIST_TEST_SECOND_OPINION": str(int(everything())),
        "CRIWIST_TEST_TIME_FACTOR": os.environ.get("CRIWIST_TEST_TIME_FACTOR", _TIME_FACTOR),
    }


def shell() -> int:
    """Boot, install, and open a shell; its changes are discarded."""
    with _node(24 * 3600) as (guest, built):
        with _stage("install"):
            install(guest, built)
            install_tests(guest, built, ["tests"])
        return guest.shell()


def main(arguments: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    match arguments:
        case ["image"]:
            with only_one(), _stage("image"):
                print(image().disk)
            return 0
        case ["test", *rest]:
            return test(rest)
        case ["shell"]:
            return shell()
        case _:
            raise Trouble("expected image, test or shell")


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        sys.exit(f"node: {trouble}")
    except KeyboardInterrupt:
        sys.exit(130)
