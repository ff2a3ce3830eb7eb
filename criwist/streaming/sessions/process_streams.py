"""A process's output and input between the engine's stream and a client's streams.

Output arrives from the engine in reads of up to BULK bytes.  Without a terminal these are stdcopy frames, which are cut
into views and leave in as few pieces as their streams alternate; nothing is copied but into the one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.errors import CriwistError, EngineFailure
from criwist.interfaces.streaming import IRemoteProcess
from criwist.streaming.direct_writer import DirectWriter
from criwist.streaming.linger import prepare
from criwist.streaming.stream import IChunksReceived, Stream
from criwist.wire import stdcopy
from criwist.wire.jsonstream import JSONObjects, JSONStreamError

#: Seconds of silence after the end of a process that count as the end of its output.  A child left in the background
#: may hold the output open for ever; what was written before the end arrives in less.
LAST_WORDS: Final = 0.5
#: Bytes of the engine's own words that are kept for the client.
MAX_COMPLAINT: Final = 4 << 10
#: Bytes of one resize document; ``{"Width":65535,"Height":65535}`` has 30.
MAX_SIZE_DOCUMENT: Final = 1 << 10


@implementer(IHalfCloseableProtocol, IPushProducer)
class ProcessOutput(Protocol):
    """Carries the engine's bytes to the client; paused by the client's connection.

    ``ended`` fires when the engine has nothing more to say.
    """

    def __init__(self, multiplexed: bool, stdout: Stream | None, stderr: Stream | None, clock: IReactorTime) -> None:
        self.ended: Deferred[None] = Deferred()
        self._demultiplexer = stdcopy.Demultiplexer() if multiplexed else None
        self._stdout = stdout
        self._targets = {stdcopy.Stream.STDOUT: stdout, stdcopy.Stream.STDERR: stderr}
        self._clock = clock
        self._heard = clock.seconds()
        self._paused = False
        self._complaint = bytearray()

    def connectionMade(self) -> None:
        """Begin."""
        prepare(self.transport)
        for stream in self._targets.values():
            if stream is not None:
                stream.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Output."""
        self._heard = self._clock.seconds()
        if self._demultiplexer is None:
            if self._stdout is not None:
                self._stdout.write(data)
            return
        run: list[memoryview] = []
        source: stdcopy.Stream | None = None
        try:
            for number, chunk, _ in self._demultiplexer.receive_data(data):
                if number is not source:
                    self._pass_on(source, run)
                    source, run = number, []
                run.append(chunk)
        except stdcopy.StdcopyError as error:
            self._complaint += f"the engine's output cannot be understood: {error}".encode()
            self._transport.abortConnection()
        self._pass_on(source, run)

    def _pass_on(self, source: stdcopy.Stream | None, run: list[memoryview]) -> None:
        if source is stdcopy.Stream.SYSTEM_ERROR:
            self._complaint += b"".join(run)[: MAX_COMPLAINT - len(self._complaint)]
        elif source is not None:
            target = self._targets.get(source)
            if target is not None:
                target.writeSequence(run)

    async def last_words(self) -> None:
        """Return when the output has ended, or nothing has come for LAST_WORDS seconds.

        :raises EngineFailure: with the engine's words, if it had to say something itself.
        """
        since = self._clock.seconds()
        while not self.ended.called:
            now = self._clock.seconds()
            left = max(since, self._heard) + LAST_WORDS - now
            if left <= 0 and not self._paused:
                break
            await deferLater(self._clock, left if left > 0 else LAST_WORDS, lambda: None)
        if self._complaint:
            raise EngineFailure(self._complaint.decode("utf-8", "replace"))

    def readConnectionLost(self) -> None:
        """The engine has nothing more to say."""
        if not self.ended.called:
            self.ended.callback(None)

    def writeConnectionLost(self) -> None:
        """Our direction is closed: the process's input has ended."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end."""
        self.readConnectionLost()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """The client's connection is full."""
        self._paused = True
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client's connection has room."""
        if self._paused:
            self._paused = False
            self._heard = self._clock.seconds()
            self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """The client's stream is gone."""
        self._transport.loseConnection()

    @property
    def _transport(self) -> Any:
        return self.transport


@implementer(IHalfCloseableProtocol, IChunksReceived)
class ProcessInput(Protocol):
    """Carries a client's standard input to the engine, whose transport pauses it.

    :param engine: the engine's transport.
    :param half_closes: see IRemoteProcess.
    """

    def __init__(self, engine: Any, half_closes: bool) -> None:
        self._engine = engine
        self._half_closes = half_closes

    def connectionMade(self) -> None:
        """Begin."""
        stream: Any = self.transport
        self._outlet = DirectWriter(self._engine, stream.pauseProducing, stream.resumeProducing)

    def chunksReceived(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Input."""
        self._outlet.send(chunks)

    def readConnectionLost(self) -> None:
        """The client has closed the process's input."""
        if self._outlet.close() and self._half_closes:
            self._engine.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """Nothing was ever sent this way."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream is gone."""
        self.readConnectionLost()


class TerminalSize(Protocol):
    """Reads a client's resize documents, and passes the sizes on one at a time.

    Sizes that come while one is passed on wait: the first of them and the last.  (Who attaches sends a wrong size and
    then the right one, so that the program redraws its screen; both must arrive.)
    """

    _log = Logger()

    def __init__(self) -> None:
        self._documents = JSONObjects(MAX_SIZE_DOCUMENT)
        self._process: IRemoteProcess | None = None
        self._sizes: list[tuple[int, int]] = []
        self._working: Deferred[None] | None = None

    def follow(self, process: IRemoteProcess) -> None:
        """From now on *process* can be told; so it is, of what has come before."""
        self._process = process
        self._work()

    def stop(self) -> None:
        """The session ends.  Idempotent."""
        self._process = None
        if self._working is not None:
            self._working.cancel()

    def dataReceived(self, data: bytes) -> None:
        """Documents, in any pieces."""
        try:
            documents = self._documents.receive_data(data)
        except JSONStreamError as error:
            self._log.warn("a client's terminal size cannot be understood: {error}", error=str(error))
            return
        for document in documents:
            width, height = document.get("Width"), document.get("Height")
            # The CRI's servers have always ignored sizes of zero, which clients send before they know better.
            if isinstance(width, int) and isinstance(height, int) and 0 < width <= 65535 and 0 < height <= 65535:
                del self._sizes[1:]
                self._sizes.append((height, width))
        self._work()

    def _work(self) -> None:
        if (self._working is None or self._working.called) and self._process is not None and self._sizes:
            self._working = Deferred.fromCoroutine(self._pass_on(self._process))
            self._working.addErrback(self._failed)

    async def _pass_on(self, process: IRemoteProcess) -> None:
        while self._sizes:
            height, width = self._sizes.pop(0)
            await process.resize(height=height, width=width)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CriwistError):
            self._log.warn("a terminal was not resized: {error}", error=failure.getErrorMessage())
        elif self._process is not None:
            self._log.failure("resizing a terminal failed", failure)
