"""Each pod's resolv.conf, correct from the first instruction of each container on.

Docker writes one ``resolv.conf`` for the sandbox and bind-mounts it into the sandbox and, as they join its network,
into all its containers.  Docker has only the node's servers and the few settings of ``HostConfig.Dns*``, uses the
node's where one of these is empty, and may write the file again when the pause is started again.  So:

1. criwist keeps a file of its own for the pod, with kubelet's settings and nothing else, and bind-mounts it at
   ``/etc/resolv.conf`` of each container.  A mount in the request has precedence over the engine's own, and keeps its
   content when the engine is restarted (observed on 20.10, with live-restore and without).
2. The engine's file is rewritten to the same content too, *in place*: a container of an older shim, or one that was
   created while criwist's file was missing, has its inode mounted.

A pod with an empty DNS configuration keeps the engine's file, which has the node's settings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from attrs import define, field
from twisted.logger import Logger
from zope.interface import implementer

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import Internal
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import IResolvConfs
from criwist.records.atomic_files import valid_key

_SELINUX = "security.selinux"


def resolv_conf_text(servers: Sequence[str], searches: Sequence[str], options: Sequence[str]) -> str:
    """Return a resolv.conf(5): servers in order, one ``search`` line, one ``options`` line; ``""`` if all are empty."""
    lines = [f"nameserver {server}" for server in servers]
    if searches:
        lines.append("search " + " ".join(searches))
    if options:
        lines.append("options " + " ".join(options))
    return "".join(line + "\n" for line in lines)


def shared_label(label: bytes) -> bytes:
    """Return an SELinux label ``user:role:type:level`` without its categories: every container may read the file."""
    user, role, kind = label.rstrip(b"\0").split(b":", 3)[:3]
    return b":".join((user, role, kind, b"s0"))


@implementer(IResolvConfs)
@define(eq=False)
class ResolvConfs:
    """The files ``<directory>/<sandbox id>/resolv.conf``."""

    directory: str
    _log: Logger = field(factory=Logger, kw_only=True)

    def write(self, dns: pb.DNSConfig, pause: JSONObject) -> None:
        """See IResolvConfs.  A failure to write the file of the engine is logged: the file of criwist has priority."""
        text = resolv_conf_text(dns.servers, dns.searches, dns.options)
        if not text:
            return
        path = self._path(pause["Id"])
        engine_path = str(pause.get("ResolvConfPath") or "")
        try:
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            _write_in_place(path, text)
        except OSError as problem:
            raise Internal(f"resolv.conf of sandbox {pause['Id']} cannot be written to {path}: {problem}") from problem
        try:
            if engine_path:
                self._copy_label(engine_path, path)
                _write_in_place(engine_path, text, create=False)
        except OSError as problem:
            self._log.warn(
                "the engine's resolv.conf of sandbox {sandbox}, {path}, cannot be written and is unchanged: {problem}",
                sandbox=pause["Id"],
                path=engine_path,
                problem=problem,
            )

    def path(self, sandbox_id: str) -> str:
        path = self._path(sandbox_id)
        return path if os.path.isfile(path) else ""

    def forget(self, sandbox_id: str) -> None:
        if valid_key(sandbox_id):
            with suppress(FileNotFoundError):
                os.unlink(self._path(sandbox_id))
            with suppress(OSError):  # not empty, because another program has files there; or gone
                os.rmdir(os.path.join(self.directory, sandbox_id))

    def _path(self, sandbox_id: str) -> str:
        return os.path.join(self.directory, sandbox_id, "resolv.conf")

    def _copy_label(self, engine_path: str, path: str) -> None:
        """Give criwist's file the SELinux type of the engine's; without it containers cannot read the file."""
        try:
            label = os.getxattr(engine_path, _SELINUX)
        except OSError:
            return  # this kernel or this file system has no labels
        os.setxattr(path, _SELINUX, shared_label(label))


def _write_in_place(path: str, text: str, *, create: bool = True) -> None:
    """Replace the content and keep the inode, which containers have mounted; mode 0644 for a new file.

    Not durable: no container of the sandbox starts again after a reboot.
    """
    descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as stream:
        if create:
            os.fchmod(descriptor, 0o644)
        stream.truncate(0)
        stream.write(text.encode("utf-8"))
