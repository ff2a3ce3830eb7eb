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
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.node.places import ROOT, Trouble

#: Where the sessions' directories are made, and how they are named (``tests.harness.leftovers``).
_DIRECTORY = Path(os.environ.get("CRIWIST_TEST_DIRECTORY", "/var/tmp"))
_PREFIX = "criwist-tests-"
_VARIABLE = b"CRIWIST_TEST_SESSION="
#: Seconds after which a run is killed, from and to.
_EARLIEST, _LATEST = 2.0, 40.0


def left() -> list[str]:
    """Return what there is of test sessions on this machine: processes, cgroups, mounts, directories."""
    found = [f"directory {path}" for path in _DIRECTORY.glob(_PREFIX + "*")]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if _VARIABLE in (entry / "environ").read_bytes() or f"/{_PREFIX}" in (entry / "cgroup").read_text():
                    found.append(f"process {entry.name}: {(entry / 'comm').read_text().strip()}")
    with Path("/proc/self/mountinfo").open() as lines:
        found += [f"mount {line.split()[4]}" for line in lines if _PREFIX in line]
    names = (_PREFIX, _PREFIX.replace("-", "_"))
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        found += [f"cgroup {path}" for path in root.glob("*") if path.name.startswith(names) and path.is_dir()]
    return found


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
