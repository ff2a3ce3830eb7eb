"""Stop signals: the CRI's enum, and the names that Docker and the kernel have for them.

``SIGNAL_SIGRTMINPLUS3`` of the CRI is ``SIGRTMIN+3`` to Docker, which also takes names without ``SIG`` and numbers.
Docker knows every name of the CRI's.
"""

from __future__ import annotations

import signal
from typing import cast

from criwist.api.runtime.v1 import api_pb2 as pb

#: Docker's stop signal for a container whose configuration names no signal, or none that Docker knows.
ENGINE_DEFAULT = pb.SIGNAL_SIGTERM

_PREFIX = "SIGNAL_"


def docker_signal(value: int) -> str:
    """Return Docker's name of a CRI signal; ``""`` for SIGNAL_RUNTIME_DEFAULT: image and engine choose."""
    if value == pb.SIGNAL_RUNTIME_DEFAULT:
        return ""
    name: str = pb.Signal.Name(value)
    return name.removeprefix(_PREFIX).replace("PLUS", "+").replace("MINUS", "-")


def cri_signal(stop_signal: str) -> pb.Signal:
    """Return the signal that stops a container with this ``Config.StopSignal``.

    :param stop_signal: a name, with or without ``SIG``, or a number; ``""`` or unknown is the engine's default.
    """
    wanted = stop_signal.strip().upper()
    if wanted.isascii() and wanted.isdigit():
        return _BY_NUMBER.get(wanted.lstrip("0"), ENGINE_DEFAULT)
    return _BY_NAME.get(wanted if wanted.startswith("SIG") else f"SIG{wanted}", ENGINE_DEFAULT)


def _number(name: str) -> int:
    """The kernel's number, 0 if this kernel has no such signal."""
    base, plus, above = name.partition("+")
    if not plus:
        base, _, below = name.partition("-")
        above = f"-{below or 0}"
    return int(getattr(signal, base, 0)) + int(above)


_BY_NAME = {
    docker_signal(value): cast("pb.Signal", value) for value in pb.Signal.values() if value != pb.SIGNAL_RUNTIME_DEFAULT
}
#: Where two names share a number, SIGABRT and SIGIOT, the one that comes first in the CRI stands for both.
_BY_NUMBER = {str(_number(name)): value for name, value in reversed(_BY_NAME.items()) if _number(name) > 0}
