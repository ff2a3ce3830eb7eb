"""Counters in cgroup files: read fast, and parsed without trust.

A list of a node's containers reads hundreds of files, so they are read by bare system calls.  A file that is absent and
a value that is not a counter of 64 bits are None.
"""

from __future__ import annotations

import os
from collections.abc import Collection

#: Longer than any file read here: memory.stat has about 2 KiB.
_MOST = 65536
_GREATEST = 2**64 - 1


def read_bytes(directory: str, name: str) -> bytes | None:
    """Return the file's bytes; None if the kernel does not have it, cannot tell it, or the cgroup is gone."""
    if not directory:
        return None
    try:
        descriptor = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _MOST)
    except OSError:  # removed while it was open, or switched off (EOPNOTSUPP: psi=0)
        return None
    finally:
        os.close(descriptor)


def counter(text: bytes | None) -> int | None:
    """Return the number of a file with one counter; None for ``max`` and anything else that is no counter."""
    if text is None:
        return None
    digits = text.strip()
    if not digits.isdigit() or len(digits) > 20:  # bytes.isdigit is ASCII only
        return None
    value = int(digits)
    return value if value <= _GREATEST else None


def counters(text: bytes | None, keys: Collection[bytes]) -> dict[bytes, int]:
    """Return the counters of *keys* in lines of ``<key> <value>``; a key without a counter is left out."""
    words = iter((text or b"").split())
    pairs = dict(zip(words, words, strict=False))
    return {key: value for key in keys if (value := counter(pairs.get(key))) is not None}
