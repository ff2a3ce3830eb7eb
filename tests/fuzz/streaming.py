"""Fuzz the streaming server: ``python -m tests.fuzz.streaming --seconds 600``.

A case is a string of bytes, read as the script of a client.  The client sends whole frames, frames with random
payloads and random bytes, cut into reads anywhere; meanwhile a process or a pod writes, and time passes.  A case runs
against the wire code alone (``wire_cases``) or against whole sessions in memory (``session_cases``).  Only errors of
the protocols may be raised, no failure may be logged, and when the client has gone no session and no timer may be left.

With atheris, coverage guides the choice of scripts, and ``.cache/fuzz`` keeps them; without it, scripts are random.  A
failing script is written to ``.cache/fuzz/failure``; ``--script FILE`` runs it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.fuzz.script import Script

_CORPUS = Path(__file__).resolve().parents[2] / ".cache/fuzz"
_MODULES = ["criwist.wire", "criwist.streaming"]


@implementer(ILogObserver)
class _LoggedFailures:
    """Collects the failures that the code under test logs."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event["log_failure"])

    def check(self) -> None:
        """Raise the first one, and forget all."""
        if self.failures:
            failure = self.failures.pop(0)
            self.failures.clear()
            failure.raiseException()


def main(arguments: list[str]) -> int:
    """Fuzz, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.streaming", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None, help="seed of the random scripts; implies no atheris")
    parser.add_argument("--script", type=Path, help="run this script alone")
    options = parser.parse_args(arguments)
    _CORPUS.mkdir(parents=True, exist_ok=True)
    if options.script:
        run = _runner()
        run(options.script.read_bytes())
        return 0
    if options.seed is None and importlib.util.find_spec("atheris"):
        _by_coverage(options.seconds)
    return _at_random(options.seconds, options.seed)


def _runner() -> Callable[[bytes], None]:
    """Return the function that runs one case.  It imports the code under test, so that atheris can instrument it."""
    from tests.fuzz.session_cases import spdy_session, upgrade_request, websocket_session
    from tests.fuzz.wire_cases import channel_decoder, spdy_connection

    # A case's first byte picks its kind; a kind that is listed more often runs more often.
    kinds = (
        *(spdy_connection, spdy_connection, channel_decoder),
        *(spdy_session, spdy_session, spdy_session, websocket_session, websocket_session, upgrade_request),
    )
    logged = _LoggedFailures()
    globalLogBeginner.beginLoggingTo([logged], redirectStandardIO=False, discardBuffer=True)

    def run(data: bytes) -> None:
        script = Script(data)
        try:
            kinds[script.number(len(kinds))](script)
        finally:
            # A logged failure explains what it left behind, so it is raised first.
            logged.check()

    return run


def _by_coverage(seconds: int) -> None:
    """Fuzz with atheris, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=_MODULES):
        run = _runner()
    corpus = _CORPUS / "corpus"
    corpus.mkdir(exist_ok=True)
    flags = [
        f"-max_total_time={seconds}",
        "-max_len=600",
        "-len_control=0",
        f"-artifact_prefix={_CORPUS}/failure-",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *flags], run)
    atheris.Fuzz()


def _at_random(seconds: int, seed: int | None) -> int:
    run = _runner()
    seed = seed if seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    source = random.Random(seed)
    deadline = time.monotonic() + seconds
    count = 0
    while time.monotonic() < deadline:
        data = source.randbytes(source.randrange(600))
        try:
            run(data)
        except BaseException:
            (_CORPUS / "failure").write_bytes(data)
            print(f"case {count} failed; its script is {_CORPUS / 'failure'}", flush=True)
            raise
        count += 1
    print(f"{count} cases, no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
