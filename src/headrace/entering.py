"""How to enter what Headrace stands on: Kafka's clients and Connect's, each with its TLS and its login."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from headrace.errors import Invalid
from headrace.settings import HttpSecurity, KafkaSecurity, Settings

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
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
        _check(own)
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


def _check(own: KafkaSecurity) -> None:
    protocol, mechanism = own.security_protocol.upper(), own.sasl_mechanism.upper()
    if protocol not in PROTOCOLS:
        raise _bad("SECURITY_PROTOCOL", f"one of {', '.join(PROTOCOLS)} is wanted")
    if protocol.startswith("SASL") and mechanism not in MECHANISMS:
        raise _bad("SASL_MECHANISM", f"one of {', '.join(MECHANISMS)} is wanted")
    if protocol.startswith("SASL") and not (own.sasl_username and own.sasl_password):
        raise _bad("SASL_USERNAME", "user and password (HEADRACE_KAFKA_SASL_PASSWORD) are wanted")
    if bool(own.cert) != bool(own.key):
        raise _bad("CERT", "certificate and key (HEADRACE_KAFKA_KEY) go together")
    for name in ("ca", "cert", "key"):
        if (file := getattr(own, name)) and not Path(file).is_file():
            raise _bad(name.upper(), f"there is no file {file}")


def _bad(name: str, why: str) -> Invalid:
    return Invalid(
        "bad_setting", f"HEADRACE_KAFKA_{name}: {why}", f"Mend the variable HEADRACE_KAFKA_{name}."
    )


def http_arguments(security: HttpSecurity) -> dict[str, Any]:
    """httpx's arguments for a service that wants to know who calls."""
    given: dict[str, Any] = {}
    if security.user:
        given["auth"] = httpx.BasicAuth(security.user, security.password)
    if security.ca or security.cert:
        try:
            context = ssl.create_default_context(cafile=security.ca or None)
            if security.cert:
                context.load_cert_chain(security.cert, security.key or None)
        except (OSError, ssl.SSLError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise Invalid(
                "bad_setting",
                f"CA {security.ca or '-'} or certificate {security.cert or '-'} cannot be used: {said}",
                "Mend the _CA, _CERT and _KEY variables of that service.",
            ) from None
        given["verify"] = context
    return given
