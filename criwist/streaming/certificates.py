"""TLS with a certificate that may change under us.

Certificates are renewed by other programs, which write new files and tell nobody.  So both files are looked at for
each new connection (two calls of stat) and read again when they are other files than before.  Files that do not go
together, as while they are being replaced, or that cannot be read, leave the certificate in force; it is said once.
"""

from __future__ import annotations

import os
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from criwist.config import TLSFiles
from criwist.errors import InvalidArgument

_Signature = tuple[tuple[int, int, int, int], ...]


@implementer(IOpenSSLServerConnectionCreator)
class ReloadedCertificate:
    """Makes server connections with the certificate of *files*.

    :raises InvalidArgument: the files cannot be used now.
    """

    _log = Logger()

    def __init__(self, files: TLSFiles) -> None:
        self._files = files
        self._signature = self._look()
        try:
            self._context = self._load()
        except (OSError, SSL.Error) as error:
            raise InvalidArgument("streaming-tls", f"the files cannot be used: {error!r}") from error

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection with the certificate as it is now."""
        self._reload()
        return SSL.Connection(self._context, None)

    def _reload(self) -> None:
        signature = self._look()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._context = self._load()
        except (OSError, SSL.Error) as error:
            self._log.warn(
                "the new streaming certificate cannot be used, the old one stays: {error}", error=repr(error)
            )
        else:
            self._log.info("the streaming certificate was read again from {file}", file=self._files.certificate)

    def _look(self) -> _Signature:
        """What tells that a file is another one than before; zeros for one that is not there."""
        found = []
        for path in (self._files.certificate, self._files.key, self._files.ca):
            try:
                status = os.stat(path)
            except OSError:
                found.append((0, 0, 0, 0))
            else:
                found.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _load(self) -> Any:
        """A context of the files; with ``ca``, clients must show a certificate that it has signed."""
        context = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
        context.use_certificate_chain_file(self._files.certificate)
        context.use_privatekey_file(self._files.key)
        context.check_privatekey()
        if self._files.ca:
            context.load_verify_locations(self._files.ca)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        return context
