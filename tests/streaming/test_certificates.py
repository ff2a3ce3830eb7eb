"""TLS with a certificate that is replaced while the server runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from criwist.config import TLSFiles
from criwist.errors import InvalidArgument
from criwist.streaming.certificates import ReloadedCertificate
from tests.harness.certificates import Authority


class CertificateTests(SynchronousTestCase):
    """Each connection gets the certificate as it is at that moment."""

    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.authority = Authority(self.root)
        self.first = self.authority.issue("first", "127.0.0.1")
        self.second = self.authority.issue("second", "127.0.0.1")
        self.files = TLSFiles(certificate=str(self.root / "cert.pem"), key=str(self.root / "key.pem"))
        self.install(self.first)

    def install(self, files: TLSFiles, *, key: bool = True) -> None:
        """Replace the files, as a renewal does."""
        for source, target in ((files.certificate, self.files.certificate), (files.key, self.files.key)):
            if key or target != self.files.key:
                shutil.copy(source, target + ".new")
                os.replace(target + ".new", target)

    def name(self, certificate: ReloadedCertificate) -> str:
        """Return the name in the next connection's certificate, by a handshake in memory."""
        server = certificate.serverConnectionForTLS(None)  # type: ignore[arg-type]
        server.set_accept_state()
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_connect_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(65536))
        certificate_seen = client.get_peer_certificate(as_cryptography=True)
        (name,) = certificate_seen.subject.get_attributes_for_oid(NameOID.COMMON_NAME)  # type: ignore[union-attr]
        return str(name.value)

    def test_a_renewal(self) -> None:
        """New files are used from the next connection on."""
        certificate = ReloadedCertificate(self.files)
        self.assertEqual(self.name(certificate), "first")
        self.install(self.second)
        self.assertEqual(self.name(certificate), "second")

    def test_half_a_renewal(self) -> None:
        """A certificate without its key leaves the old one in force; with the key it is used."""
        certificate = ReloadedCertificate(self.files)
        self.install(self.second, key=False)
        self.assertEqual(self.name(certificate), "first")
        self.install(self.second)
        self.assertEqual(self.name(certificate), "second")

    def test_missing_or_damaged_files(self) -> None:
        """Missing or damaged files leave the old certificate in force."""
        certificate = ReloadedCertificate(self.files)
        os.unlink(self.files.key)
        self.assertEqual(self.name(certificate), "first")
        Path(self.files.certificate).write_text("nonsense")
        self.assertEqual(self.name(certificate), "first")

    def test_unusable_files_at_the_start(self) -> None:
        """The server does not start with unusable files."""
        self.install(self.second, key=False)
        with self.assertRaises(InvalidArgument):
            ReloadedCertificate(self.files)
        with self.assertRaises(InvalidArgument):
            ReloadedCertificate(TLSFiles(certificate="/nowhere", key="/nowhere"))
