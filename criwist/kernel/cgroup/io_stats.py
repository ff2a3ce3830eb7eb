"""Reads and writes of a cgroup by block device.

Version 2 has a line for each device in ``io.stat``: ``254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0``.
Version 1 has a line for each device and operation: ``254:0 Read 4096``.  The throttling layer accounts for every
device, but newer kernels (6.x) switch it on only where a limit is set; before Linux 4.17 it has no files that include
the cgroups below.  Besides, the schedulers BFQ and, before Linux 5.0, CFQ account for their devices.  The first file
with a device counts; where there is none, the kernel does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from criwist.interfaces.kernel_metrics import DeviceIO
from criwist.kernel.cgroup.counters import counter, read_bytes
from criwist.kernel.cgroup.paths import Cgroup

_V2_BYTES = {b"rbytes": "Read", b"wbytes": "Write", b"dbytes": "Discard"}
_V2_OPERATIONS = {b"rios": "Read", b"wios": "Write", b"dios": "Discard"}
V1_BYTES = (
    "blkio.throttle.io_service_bytes_recursive",
    "blkio.throttle.io_service_bytes",
    "blkio.bfq.io_service_bytes_recursive",
    "blkio.io_service_bytes_recursive",
)
_V1_OPERATIONS = tuple(name.replace("io_service_bytes", "io_serviced") for name in V1_BYTES)

Device = tuple[int, int]
Figures = dict[Device, dict[str, int]]


def read_io(cgroup: Cgroup, name_of: Callable[[int, int], str]) -> tuple[DeviceIO, ...]:
    """Return the devices that the cgroup has used.

    :param name_of: returns the name of the device with this major and minor number.
    """
    if cgroup.version == 1:
        directory = cgroup.directory("blkio")
        transferred, operations = read_v1(directory, V1_BYTES), read_v1(directory, _V1_OPERATIONS)
    else:
        transferred, operations = parse_io_stat(read_bytes(cgroup.v2, "io.stat"))
    return tuple(
        DeviceIO(*device, name_of(*device), transferred.get(device, {}), operations.get(device, {}))
        for device in sorted({*transferred, *operations})
    )


def parse_io_stat(text: bytes | None) -> tuple[Figures, Figures]:
    """Return bytes and operations in version 2's ``io.stat``, by device."""
    transferred: Figures = {}
    operations: Figures = {}
    for line in (text or b"").splitlines():
        words = line.split()
        device = _device(words[0]) if len(words) > 1 else None
        if device is None:
            continue
        for word in words[1:]:
            key, _, digits = word.partition(b"=")
            value = counter(digits)
            if value is not None and key in _V2_BYTES:
                transferred.setdefault(device, {})[_V2_BYTES[key]] = value
            elif value is not None and key in _V2_OPERATIONS:
                operations.setdefault(device, {})[_V2_OPERATIONS[key]] = value
    return transferred, operations


def parse_blkio(text: bytes | None) -> Figures:
    """Return the figures in a file of version 1, by device and operation; the total of all devices is left out."""
    found: Figures = {}
    for device, operation, value in _blkio_lines(text or b""):
        found.setdefault(device, {})[operation] = value
    return found


def _blkio_lines(text: bytes) -> Iterator[tuple[Device, str, int]]:
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3 or not words[1].isalpha():
            continue
        device, value = _device(words[0]), counter(words[2])
        if device is not None and value is not None:
            yield device, words[1].decode("ascii"), value


def read_v1(directory: str, names: Iterable[str] = V1_BYTES) -> Figures:
    """Return the figures in the first of the files in *directory* that has a device."""
    found = (parse_blkio(read_bytes(directory, name)) for name in names)
    return next(filter(None, found), {})


def _device(text: bytes) -> Device | None:
    major, _, minor = text.partition(b":")
    numbers = counter(major), counter(minor)
    return None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])
