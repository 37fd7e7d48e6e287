"""How to enter what Headrace stands on: Kafka's clients and Connect's, each with its TLS and its login."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates

from headrace.errors import Invalid, Unavailable
from headrace.settings import HttpSecurity, KafkaSecurity, Settings

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
PEM = b"-----BEGIN "
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Bootstrap servers, and how to enter. As text it is the servers alone."""

    servers: str
    security: KafkaSecurity = field(default_factory=KafkaSecurity)

    def __str__(self) -> str:
        return self.servers

    def options(self) -> dict[str, str]:
        """librdkafka's settings for every client. Invalid ``bad_setting`` for what cannot be."""
        own = self.security
        check_kafka(own)
        given = {
            "bootstrap.servers": self.servers,
            "security.protocol": own.security_protocol.upper(),
            "sasl.mechanism": own.sasl_mechanism.upper(),
            "sasl.username": own.sasl_username,
            "sasl.password": own.sasl_password,
            "ssl.ca.location": own.ca,
            "ssl.certificate.location": own.cert,
            "ssl.key.location": own.key,
            "ssl.key.password": own.key_password,
        }
        return {name: value for name, value in given.items() if value}


def reachable(servers: str, patience: float) -> bool:
    """Whether one of the bootstrap servers takes a connection, within so many seconds."""
    until = time.monotonic() + patience
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), max(0.1, until - time.monotonic())):
                return True
        except (OSError, ValueError, OverflowError):
            continue
    return False


def cluster(settings: Settings) -> Cluster:
    """The cluster of the settings."""
    return Cluster(settings.kafka, settings.kafka_security)


def check_kafka(own: KafkaSecurity) -> None:
    """Invalid ``bad_setting`` for what cannot be: unknown words, halves of pairs, files that hold something else."""
    protocol, mechanism = own.security_protocol.upper(), own.sasl_mechanism.upper()
    if protocol not in PROTOCOLS:
        raise _bad("SECURITY_PROTOCOL", f"one of {', '.join(PROTOCOLS)} is wanted")
    if protocol.startswith("SASL") and mechanism not in MECHANISMS:
        raise _bad("SASL_MECHANISM", f"one of {', '.join(MECHANISMS)} is wanted")
    if protocol.startswith("SASL") and not (own.sasl_username and own.sasl_password):
        raise _bad("SASL_USERNAME", "user and password (HEADRACE_KAFKA_SASL_PASSWORD) are wanted")
    if bool(own.cert) != bool(own.key):
        raise _bad("CERT", "certificate and key (HEADRACE_KAFKA_KEY) go together")
    for name in ("ca", "cert"):
        if file := getattr(own, name):
            try:
                load_pem_x509_certificates(Path(file).read_bytes())
            except (OSError, ValueError) as error:
                raise _bad(name.upper(), f"{file} holds no certificate (PEM): {error}") from None
    if own.key:
        try:
            pkcs8(Path(own.key), own.key_password)
        except Invalid as error:
            raise _bad("KEY", f"{error.message}; is HEADRACE_KAFKA_KEY_PASSWORD right?") from None


def _bad(name: str, why: str) -> Invalid:
    return Invalid(
        "bad_setting", f"HEADRACE_KAFKA_{name}: {why}", f"Mend the variable HEADRACE_KAFKA_{name}."
    )


class Ear:
    """Takes what librdkafka reports of its connections (``error_cb``), where alone it says why a broker refuses us."""

    def __init__(self, kafka: Cluster) -> None:
        self._kafka = kafka
        self.heard: Unavailable | None = None

    def require_entered(self) -> None:
        """Raise the refusal that was heard last, if any: Unavailable ``kafka_denied`` or ``kafka_tls``."""
        if self.heard is not None:
            raise self.heard

    def __call__(self, error: Any) -> None:
        """Keep a refusal until something else stands in the way."""
        name, said = error.name(), str(error.str()).partition(" (after ")[0]
        if name == "_AUTHENTICATION":
            self.heard = Unavailable(
                "kafka_denied",
                f"Kafka at {self._kafka} does not let Headrace in: {said}",
                "Check HEADRACE_KAFKA_SASL_MECHANISM, _SASL_USERNAME and _SASL_PASSWORD.",
            )
        elif name == "_SSL" or "SSL routines" in said or "SSL handshake" in said:
            self.heard = Unavailable(
                "kafka_tls",
                f"Kafka at {self._kafka} and Headrace do not agree on TLS: {said}",
                _tls_guidance(said, "HEADRACE_KAFKA"),
            )
        elif name != "_ALL_BROKERS_DOWN" and "Disconnected" not in said:
            self.heard = None


def _tls_guidance(said: str, prefix: str) -> str:
    low = said.lower()
    if "verify failed" in low:
        return f"{prefix}_CA has to name the CA (PEM) that signed the certificate of the host name that you gave."
    if "alert" in low:
        return f"It wants a client's certificate that it believes: set {prefix}_CERT and {prefix}_KEY (PEM)."
    if prefix == "HEADRACE_KAFKA":
        return "Does that listener speak TLS? Check HEADRACE_KAFKA_SECURITY_PROTOCOL."
    return f"Does it speak TLS at that port? Check http or https in {prefix}."


def http_tls(error: BaseException, prefix: str) -> tuple[str, str] | None:
    """What TLS had against a call, and what to do; None when it failed for another reason. prefix: of the variables."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            said = str(cause).partition(" (_ssl")[0]
            return said, _tls_guidance(said, prefix)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def http_arguments(security: HttpSecurity) -> dict[str, Any]:
    """httpx's arguments for a service that wants to know who calls. Invalid ``bad_setting``."""
    given: dict[str, Any] = {}
    if security.key and not security.cert:
        raise Invalid(
            "bad_setting", "A key without its certificate", "Set the _CERT beside the _KEY variable."
        )
    if security.password and not security.user:
        raise Invalid(
            "bad_setting", "A password without its user", "Set the _USER beside the _PASSWORD variable."
        )
    if security.user:
        given["auth"] = httpx.BasicAuth(security.user, security.password)
    if security.ca or security.cert:
        try:
            context = ssl.create_default_context(cafile=security.ca or None)
            if security.cert:
                context.load_cert_chain(security.cert, security.key or None, lambda: _key_password(security))
        except (OSError, ssl.SSLError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise Invalid(
                "bad_setting",
                f"CA {security.ca or '-'} or certificate {security.cert or '-'} cannot be used: {said}",
                "Mend the _CA, _CERT, _KEY and _KEY_PASSWORD variables of that service.",
            ) from None
        given["verify"] = context
    return given


def _key_password(security: HttpSecurity) -> str:
    # Without this OpenSSL asks on the terminal.
    if not security.key_password:
        raise Invalid(
            "bad_setting",
            f"The key of {security.cert} is encrypted",
            "Set the _KEY_PASSWORD variable of that service.",
        )
    return security.key_password


def pkcs8(file: Path, password: str = "", *, der: bool = False) -> bytes:  # nosec B107  # "" is none
    """A private key in the one form that Java reads (PEM unless DER is wanted), not encrypted. Invalid ``bad_key``."""
    try:
        held = file.read_bytes()
        load = load_pem_private_key if PEM in held else load_der_private_key
        key = load(held, password.encode() or None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid(
            "bad_key",
            f"{file} cannot be read as a private key: {error}",
            "It has to be a file (PEM or DER) that is not encrypted, or whose password is known.",
        ) from None
    return key.private_bytes(Encoding.DER if der else Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
