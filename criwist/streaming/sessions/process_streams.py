"""A process's output and input: from the engine's stream to a client's streams, and back.

Output arrives from the engine in reads of up to BUFFER_SIZE bytes.  Without a terminal these are stdcopy frames.  They
are cut into views, and consecutive frames of one stream leave as one piece; nothing is copied except into that write.
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
from criwist.streaming.socket_options import set_socket_options
from criwist.streaming.stream import IChunksReceived, Stream
from criwist.wire import stdcopy
from criwist.wire.jsonstream import JSONObjects, JSONStreamError

#: Seconds of silence after the end of a process that count as the end of its output.  A child left in the background
#: may hold the output open for ever; bytes that were written before the end arrive in less.
DRAIN_SILENCE: Final = 0.5
#: Bytes of the engine's own error text that are kept for the client.
MAX_ENGINE_ERROR: Final = 4 << 10
#: Bytes of one resize document; ``{"Width":65535,"Height":65535}`` has 30.
MAX_SIZE_DOCUMENT: Final = 1 << 10


@implementer(IHalfCloseableProtocol, IPushProducer)
class ProcessOutput(Protocol):
    """Copies the engine's bytes to the client; the client's connection pauses it.

    ``ended`` fires when the engine has closed its direction.
    """

    def __init__(self, multiplexed: bool, stdout: Stream | None, stderr: Stream | None, clock: IReactorTime) -> None:
        self.ended: Deferred[None] = Deferred()
        self._demultiplexer = stdcopy.Demultiplexer() if multiplexed else None
        self._stdout = stdout
        self._streams = {stdcopy.Stream.STDOUT: stdout, stdcopy.Stream.STDERR: stderr}
        self._clock = clock
        self._last_read = clock.seconds()
        self._paused = False
        self._engine_error = bytearray()

    def connectionMade(self) -> None:
        set_socket_options(self.transport)
        for stream in self._streams.values():
            if stream is not None:
                stream.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._last_read = self._clock.seconds()
        if self._demultiplexer is None:
            if self._stdout is not None:
                self._stdout.write(data)
            return
        chunks: list[memoryview] = []
        source: stdcopy.Stream | None = None
        try:
            for number, chunk, _ in self._demultiplexer.receive_data(data):
                if number is not source:
                    self._forward(source, chunks)
                    source, chunks = number, []
                chunks.append(chunk)
        except stdcopy.StdcopyError as error:
            self._engine_error += f"the engine's output cannot be understood: {error}".encode()
            self._transport.abortConnection()
        self._forward(source, chunks)

    def _forward(self, source: stdcopy.Stream | None, chunks: list[memoryview]) -> None:
        if source is stdcopy.Stream.SYSTEM_ERROR:
            self._engine_error += b"".join(chunks)[: MAX_ENGINE_ERROR - len(self._engine_error)]
        elif source is not None:
            stream = self._streams.get(source)
            if stream is not None:
                stream.writeSequence(chunks)

    async def drain(self) -> None:
        """Return when the output has ended, or has been silent for DRAIN_SILENCE seconds.

        :raises EngineFailure: the engine has sent an error text of its own.
        """
        since = self._clock.seconds()
        while not self.ended.called:
            now = self._clock.seconds()
            left = max(since, self._last_read) + DRAIN_SILENCE - now
            if left <= 0 and not self._paused:
                break
            await deferLater(self._clock, left if left > 0 else DRAIN_SILENCE, lambda: None)
        if self._engine_error:
            raise EngineFailure(self._engine_error.decode("utf-8", "replace"))

    def readConnectionLost(self) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    def writeConnectionLost(self) -> None:
        """Do nothing: only the process's input has ended."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.readConnectionLost()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Pause the engine: the client's connection is full."""
        self._paused = True
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume the engine: the client's connection has room."""
        if self._paused:
            self._paused = False
            self._last_read = self._clock.seconds()
            self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """Close the engine's connection: the client's stream is closed."""
        self._transport.loseConnection()

    @property
    def _transport(self) -> Any:
        return self.transport


@implementer(IHalfCloseableProtocol, IChunksReceived)
class ProcessInput(Protocol):
    """Copies a client's standard input to the engine, whose transport pauses it.

    :param engine: the engine's transport.
    :param half_closes: see IRemoteProcess.
    """

    def __init__(self, engine: Any, half_closes: bool) -> None:
        self._engine = engine
        self._half_closes = half_closes

    def connectionMade(self) -> None:
        stream: Any = self.transport
        self._writer = DirectWriter(self._engine, stream.pauseProducing, stream.resumeProducing)

    def chunksReceived(self, chunks: Sequence[bytes | memoryview]) -> None:
        self._writer.send(chunks)

    def readConnectionLost(self) -> None:
        """Close the process's input, if the engine can do that alone."""
        if self._writer.close() and self._half_closes:
            self._engine.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: nothing is ever sent this way."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.readConnectionLost()


class TerminalSize(Protocol):
    """Reads a client's resize documents, and resizes the process's terminal, one call at a time.

    Of the sizes that come during a call, the first and the last wait.  (A client that attaches sends a wrong size and
    then the right one, so that the program redraws its screen; both must arrive.)
    """

    _log = Logger()

    def __init__(self) -> None:
        self._documents = JSONObjects(MAX_SIZE_DOCUMENT)
        self._process: IRemoteProcess | None = None
        self._sizes: list[tuple[int, int]] = []
        self._resizing: Deferred[None] | None = None

    def set_process(self, process: IRemoteProcess) -> None:
        """Resize *process* from now on, beginning with the sizes that have already come."""
        self._process = process
        self._start_resizing()

    def stop(self) -> None:
        """Stop resizing: the session ends.  Idempotent."""
        self._process = None
        if self._resizing is not None:
            self._resizing.cancel()

    def dataReceived(self, data: bytes) -> None:
        try:
            documents = self._documents.receive_data(data)
        except JSONStreamError as error:
            self._log.warn("cannot read the terminal size that a client sent: {error}", error=str(error))
            return
        for document in documents:
            width, height = document.get("Width"), document.get("Height")
            # CRI servers have always ignored sizes of zero, which clients send before they know the real size.
            if isinstance(width, int) and isinstance(height, int) and 0 < width <= 65535 and 0 < height <= 65535:
                del self._sizes[1:]
                self._sizes.append((height, width))
        self._start_resizing()

    def _start_resizing(self) -> None:
        if (self._resizing is None or self._resizing.called) and self._process is not None and self._sizes:
            self._resizing = Deferred.fromCoroutine(self._resize(self._process))
            self._resizing.addErrback(self._failed)

    async def _resize(self, process: IRemoteProcess) -> None:
        while self._sizes:
            height, width = self._sizes.pop(0)
            await process.resize(height=height, width=width)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CriwistError):
            self._log.warn("cannot resize a terminal: {error}", error=failure.getErrorMessage())
        elif self._process is not None:
            self._log.failure("resizing a terminal failed", failure)
