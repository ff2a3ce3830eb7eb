"""Tar archives of directories, written atomically."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from collections.abc import Mapping


def write_archive(location: str, directory: str, prefix: str, texts: Mapping[str, bytes]) -> None:
    """Write a tar of *directory*, under the name *prefix*, and of *texts* by name.  Blocking.

    The tar replaces a file at *location*.  It is written under another name beside it, readable by its owner alone, and
    renamed when it is on disk.

    :raises OSError: *location* is unchanged then, and the partial file is removed.
    """
    head, tail = os.path.split(location)
    partial = os.path.join(head, f".{tail}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for name, content in texts.items():
                    member = tarfile.TarInfo(name)
                    member.size, member.mode = len(content), 0o600
                    tar.addfile(member, io.BytesIO(content))
                tar.add(directory, prefix)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, location)
    except BaseException:
        os.unlink(partial)
        raise
