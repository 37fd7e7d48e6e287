"""Certificates for servers on 127.0.0.1 and for their clients, made afresh for each test."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

STORE_PASSWORD = "changeit"  # pragma: allowlist secret


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, with the files that hold them."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: Path
    key_file: Path


class Authority:
    """A certificate authority whose files lie in one folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(name)
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=True, path_length=None), True)
        ]
        self.certificate = self._sign(self._subject, self._key, extensions)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def identity(
        self, name: str, *, form: PrivateFormat = PrivateFormat.PKCS8, password: str = ""
    ) -> Identity:
        """A certificate for 127.0.0.1, good for servers and clients. password: encrypts the file of the key."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False),
            (
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                False,
            ),
        ]
        certificate = self._sign(_name(name), key, extensions)
        cert_file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        key_file.write_bytes(key.private_bytes(Encoding.PEM, form, encryption))
        key_file.chmod(0o600)
        return Identity(certificate, key, cert_file, key_file)

    def key_store(self, identity: Identity) -> Path:
        """A PKCS#12 file with an identity, for Java."""
        file = identity.key_file.with_suffix(".p12")
        encryption = BestAvailableEncryption(STORE_PASSWORD.encode())
        file.write_bytes(
            pkcs12.serialize_key_and_certificates(
                b"own", identity.key, identity.certificate, [self.certificate], encryption
            )
        )
        return file

    def trust_store(self) -> Path:
        """A PKCS#12 file that believes this authority, for Java."""
        file = self.file.with_suffix(".p12")
        believed = [pkcs12.PKCS12Certificate(self.certificate, b"ca")]
        encryption = BestAvailableEncryption(STORE_PASSWORD.encode())
        file.write_bytes(pkcs12.serialize_java_truststore(believed, encryption))
        return file

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: list[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
