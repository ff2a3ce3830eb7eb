"""Fuzz the streaming server: ``python -m tests.fuzz.spdy --seconds 600``.

A case is a string of bytes that is read as a script of what a client does: whole frames, frames with random insides,
random bytes, cut into reads anywhere, with a process or a pod that talks meanwhile, and time that passes.  It runs
against the wire code alone and against whole sessions in memory.  Nothing may raise but the errors of the protocols,
nothing may be logged as a failure, and when the client has gone no session and no timer may be left.

With atheris the scripts are found by coverage, and kept in ``.cache/fuzz``; without, they are random.  A script that
fails is written to ``.cache/fuzz/failure`` and run again by ``--script FILE``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field

_CORPUS = Path(__file__).resolve().parents[2] / ".cache/fuzz"
_MODULES = ["criwist.wire", "criwist.streaming"]
_ROLES = ("error", "stdin", "stdout", "stderr", "resize", "data", "")
#: Acts of one script.
_MAX_ACTS = 64


@define
class Script:
    """Reads a case."""

    _data: bytes
    _position: int = field(default=0, init=False)

    @property
    def over(self) -> bool:
        """Whether it is read to its end."""
        return self._position >= len(self._data)

    def number(self, limit: int) -> int:
        """From 0 to below *limit*."""
        return int.from_bytes(self.bytes(1 if limit <= 256 else 2), "big") % limit

    def bytes(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        taken = self._data[self._position : self._position + count]
        self._position += count
        return taken


class _Failures:
    """Keeps failures that are logged."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if event.get("log_failure") is not None:
            self.events.append(event["log_failure"])

    def check(self) -> None:
        """Raise the first."""
        if self.events:
            failure = self.events.pop(0)
            self.events.clear()
            failure.raiseException()


def cases(failures: _Failures) -> list[Callable[[Script], None]]:
    """The kinds of cases.  Imports here, so that atheris can watch them."""
    from twisted.internet.protocol import Protocol
    from wsproto.connection import Connection, ConnectionType
    from wsproto.utilities import LocalProtocolError as WebSocketMisuse

    from criwist.interfaces.streaming import RemoteCommand
    from criwist.streaming.sessions.factory import SessionFactory
    from criwist.streaming.targets import PATHS, Exec, PortForward, Request
    from criwist.streaming.tokens import TokenTable
    from criwist.streaming.upgrade import UpgradeConnection
    from criwist.wire.channels import PORT_FORWARD, REMOTE_COMMAND, ChannelDecoder, ChannelError
    from criwist.wire.spdy import LocalProtocolError, RemoteProtocolError, SpdyConnection
    from tests.doubles.memory_runtime import FarEnd, MemoryReactor
    from tests.doubles.streaming_peers import SpdyClient, WebSocketClient

    def pieces(script: Script, data: bytes) -> list[bytes]:
        size = script.number(64) + 1
        return [data[start : start + size] for start in range(0, len(data), size)]

    def frame(script: Script) -> bytes:
        """A control or data frame with random insides."""
        kind = script.number(13)
        payload = script.bytes(script.number(48))
        length = len(payload).to_bytes(3, "big")
        if kind == 12:
            return script.number(8).to_bytes(4, "big") + script.bytes(1).ljust(1, b"\0") + length + payload
        return b"\x80\x03\0" + bytes((kind,)) + script.bytes(1).ljust(1, b"\0") + length + payload

    def wire(script: Script) -> None:
        """The connection alone, fed by a real client's frames and random ones."""
        client, server = SpdyConnection(server=False), SpdyConnection(server=True, max_streams=4)
        with contextlib.suppress(RemoteProtocolError):
            while not script.over:
                act = script.number(5)
                if act == 0:
                    sent = client.open_stream([(b"streamtype", script.bytes(6).replace(b"\0", b""))])[1]
                elif act == 1:
                    sent = frame(script)
                elif act == 2:
                    sent = script.bytes(script.number(64))
                elif act == 3:
                    sent = client.ping()
                else:
                    sent = client.reset(script.number(16) * 2 + 1, script.number(12))  # type: ignore[arg-type]
                for piece in pieces(script, sent):
                    for _ in server.receive_data(piece):
                        pass

    def channels(script: Script) -> None:
        """The channel decoder alone."""
        protocols = REMOTE_COMMAND + PORT_FORWARD
        decoder = ChannelDecoder(protocols[script.number(len(protocols))])
        with contextlib.suppress(ChannelError):
            while not script.over:
                data: bytes | str = script.bytes(script.number(24))
                if script.number(2):
                    data = data.decode("latin-1")  # type: ignore[union-attr]
                list(decoder.receive(data, bool(script.number(2))))

    def world() -> tuple[MemoryReactor, SessionFactory, Callable[[Request, Callable[[str], Any]], Any]]:
        reactor = MemoryReactor()
        reactor.runtime.ports[80] = FarEnd
        tokens: TokenTable[Request] = TokenTable(reactor)
        switchboard = SessionFactory(reactor.runtime, reactor, 300.0)  # type: ignore[arg-type]

        def connect(request: Request, make: Callable[[str], Any]) -> Any:
            client = make(f"/{PATHS[type(request)]}/{tokens.insert(request)}")
            reactor.network.connect(client, UpgradeConnection(tokens, switchboard, reactor, 300.0, lambda _: None))
            reactor.network.settle()
            return client

        return reactor, switchboard, connect

    def meanwhile(script: Script, reactor: MemoryReactor) -> None:
        """The far ends talk, end or stop reading, or time passes."""
        act = script.number(8)
        processes = reactor.runtime.processes
        pods = [pod for pod in reactor.runtime.connections if not pod.lost]
        if act == 0:
            reactor.advance(script.number(40))
        elif act < 4 and processes:
            if act == 1:
                processes[-1].far.connection.write(script.bytes(script.number(40)))
            elif act == 2:
                processes[-1].say(b"x" * script.number(60000))
            else:
                processes[-1].end(script.number(3))
        elif pods:
            pod = pods[script.number(len(pods))].connection
            (pod.loseWriteConnection, pod.abortConnection, pod.pauseProducing, pod.resumeProducing)[act & 3]()
        reactor.network.settle()

    def finish(reactor: MemoryReactor, switchboard: SessionFactory, client: Any) -> None:
        """The client goes; nothing may be left."""
        client.transport.abortConnection()
        reactor.network.settle()
        for process in reactor.runtime.processes:
            process.exit(0)
        for _ in range(100):
            reactor.advance(1)
            reactor.network.settle()
        failures.check()
        left = [call for call in reactor.getDelayedCalls() if call.func != reactor.network.settle]  # type: ignore[attr-defined]
        if switchboard.sessions or left:
            raise AssertionError(f"left behind: {switchboard.sessions} {left}")

    def command(script: Script) -> Exec:
        tty = bool(script.number(2))
        return Exec(RemoteCommand("c", ("run",), bool(script.number(2)), True, not tty, tty))

    def spdy(script: Script) -> None:
        """A whole session over SPDY."""
        reactor, switchboard, connect = world()
        request: Request = command(script) if script.number(2) else PortForward("s")
        version = "v4.channel.k8s.io" if isinstance(request, Exec) else "portforward.k8s.io"
        client = connect(request, lambda target: SpdyClient(target, (version,)))
        client.dataReceived = lambda data: None
        for _ in range(_MAX_ACTS):
            if script.over:
                break
            act = script.number(8)
            with contextlib.suppress(LocalProtocolError):
                if act < 2:
                    request_id = str(script.number(4))
                    port = ("80", "81", "x")[script.number(3)]
                    role = _ROLES[script.number(len(_ROLES))]
                    number = client.open(streamtype=role, port=port, requestid=request_id)
                    client.connection._streams[number].replied = True
                elif act == 2:
                    data = script.bytes(script.number(32)) * (script.number(2000) + 1)
                    client.send(script.number(16) * 2 + 1, data, fin=bool(script.number(2)))
                elif act == 3:
                    client.reset(script.number(16) * 2 + 1)
                elif act == 4:
                    for piece in pieces(script, frame(script)):
                        client.write(piece)
                elif act == 5:
                    client.write(script.bytes(script.number(32)))
                elif act == 6:
                    client.ping()
                else:
                    meanwhile(script, reactor)
            if script.number(2):
                reactor.network.settle()
        finish(reactor, switchboard, client)

    def websocket(script: Script) -> None:
        """A whole session over a WebSocket."""
        reactor, switchboard, connect = world()
        request: Request = command(script) if script.number(2) else PortForward("s", (80, 81))
        names = [one.name for one in (REMOTE_COMMAND if isinstance(request, Exec) else PORT_FORWARD)]
        names.append("SPDY/3.1+portforward.k8s.io")
        offered = names[script.number(len(names))]
        client = connect(request, lambda target: WebSocketClient(target, (offered,)))
        if client.chosen is None:
            return
        client.dataReceived = lambda data: None
        # After the handshake, in a framing that the server's answers, which are not read, do not change.
        client.connection = Connection(ConnectionType.CLIENT)
        for _ in range(_MAX_ACTS):
            if script.over:
                break
            act = script.number(7)
            with contextlib.suppress(WebSocketMisuse, TypeError):
                if act < 3:
                    client.send(frame(script) if script.number(2) else script.bytes(script.number(40)), last=act > 0)
                elif act == 3:
                    client.send(script.bytes(script.number(40)).decode("latin-1"))
                elif act == 4:
                    client.write(script.bytes(script.number(16)))
                elif act == 5:
                    client.send_ping()
                else:
                    meanwhile(script, reactor)
            if script.number(2):
                reactor.network.settle()
        finish(reactor, switchboard, client)

    def front(script: Script) -> None:
        """The first words."""
        reactor, switchboard, connect = world()
        words = script.bytes(1 << 16)

        class Talker(Protocol):
            def __init__(self, target: str) -> None:
                head = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n".encode()
                self.words = words if words[:1] > b"\x80" else head[: len(head) // 2] + words + head[len(head) // 2 :]

            def connectionMade(self) -> None:
                for start in range(0, len(self.words), 7):
                    self.transport.write(self.words[start : start + 7])  # type: ignore[union-attr]

        finish(reactor, switchboard, connect(command(script), Talker))

    return [wire, wire, channels, spdy, spdy, spdy, websocket, websocket, front]


def main(arguments: list[str]) -> int:
    """Fuzz; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.spdy", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None, help="of random scripts; without atheris or by choice")
    parser.add_argument("--script", type=Path, help="run one script again")
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
    from twisted.logger import globalLogBeginner

    failures = _Failures()
    globalLogBeginner.beginLoggingTo([failures], redirectStandardIO=False, discardBuffer=True)  # type: ignore[list-item]
    kinds = cases(failures)

    def run(data: bytes) -> None:
        script = Script(data)
        kinds[script.number(len(kinds))](script)
        failures.check()

    return run


def _by_coverage(seconds: int) -> None:
    """With atheris, which ends the process."""
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
