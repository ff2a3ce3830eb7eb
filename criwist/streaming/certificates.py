"""TLS with a certificate that is reloaded when its files change.

Other programs renew certificates: they write new files and send no notification.  So for each new connection criwist
checks the files with stat, and reads them again if they have changed.  Files that do not match each other, as while
they are being replaced, or that cannot be read, leave the old certificate in force; one warning is logged.
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
    """Makes server connections with the current certificate of *files*.

    :param what: the server that presents it, for messages.
    :raises InvalidArgument: the files cannot be used at the construction.
    """

    _log = Logger()

    def __init__(self, files: TLSFiles, what: str = "streaming") -> None:
        self._files = files
        self._what = what
        self._signature = self._file_signature()
        try:
            self._context = self._load()
        except (OSError, SSL.Error) as error:
            raise InvalidArgument(f"{what}-tls", f"the files cannot be used: {error!r}") from error

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection that uses the certificate as it is now."""
        self._reload()
        return SSL.Connection(self._context, None)

    def _reload(self) -> None:
        signature = self._file_signature()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._context = self._load()
        except (OSError, SSL.Error) as error:
            self._log.warn(
                "the new {what} certificate cannot be used, the old one stays in use: {error}",
                what=self._what,
                error=repr(error),
            )
        else:
            self._log.info(
                "loaded the new {what} certificate from {file}", what=self._what, file=self._files.certificate
            )

    def _file_signature(self) -> _Signature:
        """Return the numbers by which a changed file is recognized; zeros for a missing file."""
        signature = []
        for path in (self._files.certificate, self._files.key, self._files.ca):
            try:
                status = os.stat(path)
            except OSError:
                signature.append((0, 0, 0, 0))
            else:
                signature.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(signature)

    def _load(self) -> Any:
        """Return a context of the files; with ``ca``, clients must present a certificate that it has signed."""
        context = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
        context.use_certificate_chain_file(self._files.certificate)
        context.use_privatekey_file(self._files.key)
        context.check_privatekey()
        if self._files.ca:
            context.load_verify_locations(self._files.ca)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        return context
