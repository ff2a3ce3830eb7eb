"""Kill test runs at random moments, and check that nothing of them is left:  ``python -m tools.killed_runs TEST…``

Each round starts pytest on the tests that are named, with workers, and kills its process with SIGKILL after a random
time.  Then the same tests run to their end.  That run has to be green, and afterwards no process, cgroup, mount or
directory of a test session is left on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.harness.leftovers import started
from tools.node.places import ROOT, Trouble

#: Where the sessions' directories are made.
_DIRECTORY = Path(os.environ.get("CRIWIST_TEST_DIRECTORY", "/var/tmp"))
#: A session's name: of its directory, in its processes' environment, and of its cgroup (systemd wants underscores).
_SESSION = re.compile(r"criwist[-_]tests[-_](\d+)[-_](\d+)")
#: Seconds after which a run is killed, from and to.
_EARLIEST, _LATEST = 2.0, 40.0


def left() -> list[str]:
    """Return what there is of dead test sessions on this machine: processes, cgroups, mounts, directories."""
    found = [f"directory {path}" for path in _DIRECTORY.glob("criwist-tests-*") if _is_dead(path.name)]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                marks = (entry / "environ").read_bytes().decode(errors="replace") + (entry / "cgroup").read_text()
                if "CRIWIST_TEST_SESSION=" in marks or "/criwist" in marks:
                    name = (entry / "comm").read_text().strip()
                    found += [f"process {entry.name}: {name}"] if _is_dead(marks) else []
    with Path("/proc/self/mountinfo").open() as lines:
        found += [f"mount {line.split()[4]}" for line in lines if _is_dead(line)]
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        found += [f"cgroup {path}" for path in root.glob("criwist*tests*") if path.is_dir() and _is_dead(path.name)]
    return found


def _is_dead(text: str) -> bool:
    """Whether *text* names a session whose process has ended."""
    session = _SESSION.search(text)
    return session is not None and started(int(session[1])) != session[2]


def _pytest(tests: list[str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-n", "4", *tests]
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _kill_one(tests: list[str], log: Path, chance: random.Random) -> str:
    """Start a run and kill it; return after how long, and whether it had ended before."""
    run = _pytest(tests, log)
    after = chance.uniform(_EARLIEST, _LATEST)
    try:
        run.wait(after)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.wait()
        return f"killed after {after:.1f} s"
    return "ended before it was killed"


def main() -> None:
    """Run the rounds.

    :raises Trouble: a run was red, or something is left.
    """
    parser = argparse.ArgumentParser(description="kill test runs at random moments")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("tests", nargs="+")
    options = parser.parse_args()
    if before := left():
        raise Trouble("there is something of test sessions already:\n" + "\n".join(before))
    chance = random.Random(options.seed)
    log = ROOT / ".cache" / "killed-run.log"
    log.parent.mkdir(exist_ok=True)
    print(f"seed {options.seed}", flush=True)
    for number in range(1, options.times + 1):
        how = _kill_one(options.tests, log, chance)
        if _pytest(options.tests, log).wait() != 0:
            raise Trouble(f"round {number}: the run after one that was {how} is red, see {log}")
        if after := left():
            raise Trouble(f"round {number}: of a run that was {how} is left:\n" + "\n".join(after))
        print(f"round {number}: {how}; the next run is green and nothing is left", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"killed_runs: {trouble}")
