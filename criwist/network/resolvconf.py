"""Each pod's resolv.conf, and what keeps it right from the first instruction of each container on.

Docker makes one ``resolv.conf`` for the sandbox and bind-mounts it into the sandbox and, as they join its network,
into all its containers.  It knows only the node's servers and the few settings of ``HostConfig.Dns*``, takes the
node's where one of these is empty, and may write the file anew when the pause is started again.  So:

1. criwist keeps a file of its own for the pod, with what kubelet asked for and nothing else, and bind-mounts it at
   ``/etc/resolv.conf`` of each container.  A mount that is asked for wins over the engine's own, and keeps its
   content when the engine is restarted (observed on 20.10, with live-restore and without).
2. The engine's file is rewritten to the same content as well, *in place*, for it is its inode that a container of an
   older shim, or one made while our file was missing, has mounted.

A pod whose DNS configuration is empty keeps what the engine made: the node's.
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
    """A resolv.conf(5): servers in order, one ``search``, one ``options`` line; ``""`` if there is nothing to say."""
    lines = [f"nameserver {server}" for server in servers]
    if searches:
        lines.append("search " + " ".join(searches))
    if options:
        lines.append("options " + " ".join(options))
    return "".join(line + "\n" for line in lines)


def shared_label(label: bytes) -> bytes:
    """An SELinux label ``user:role:type:level`` without categories, so that every container may read the file."""
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
        engines = str(pause.get("ResolvConfPath") or "")
        try:
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            _write_in_place(path, text)
        except OSError as problem:
            raise Internal(f"resolv.conf of sandbox {pause['Id']} cannot be written to {path}: {problem}") from problem
        try:
            if engines:
                self._share_label(engines, path)
                _write_in_place(engines, text, create=False)
        except OSError as problem:
            self._log.warn(
                "resolv.conf of sandbox {sandbox} in {path}, the engine's own, stays as it is: {problem}",
                sandbox=pause["Id"],
                path=engines,
                problem=problem,
            )

    def path(self, sandbox_id: str) -> str:
        path = self._path(sandbox_id)
        return path if os.path.isfile(path) else ""

    def forget(self, sandbox_id: str) -> None:
        if valid_key(sandbox_id):
            with suppress(FileNotFoundError):
                os.unlink(self._path(sandbox_id))
            with suppress(OSError):  # not empty, for somebody else keeps something there; or gone
                os.rmdir(os.path.join(self.directory, sandbox_id))

    def _path(self, sandbox_id: str) -> str:
        return os.path.join(self.directory, sandbox_id, "resolv.conf")

    def _share_label(self, engines: str, path: str) -> None:
        """Where SELinux labels files, give ours the type of the engine's; containers could not read it otherwise."""
        try:
            label = os.getxattr(engines, _SELINUX)
        except OSError:
            return  # this kernel or this filesystem has no labels
        os.setxattr(path, _SELINUX, shared_label(label))


def _write_in_place(path: str, text: str, *, create: bool = True) -> None:
    """Replace the content and keep the inode, which containers have mounted; mode 0644 for a new file.

    Not durable: no container of the sandbox is started again once the machine has gone down.
    """
    descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as stream:
        if create:
            os.fchmod(descriptor, 0o644)
        stream.truncate(0)
        stream.write(text.encode("utf-8"))
