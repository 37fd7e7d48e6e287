"""How to enter Kafka, in the words of Java's clients: JAAS and PEM instead of librdkafka's files."""

from __future__ import annotations

from pathlib import Path

from headrace.entering import check_kafka, pkcs8
from headrace.settings import KafkaSecurity

_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
# A worker's own clients, then those that it makes for connectors.
_CLIENTS = ("", "producer.", "consumer.", "admin.")


def worker_security(own: KafkaSecurity) -> dict[str, str]:
    """Settings by which every client of a Connect worker enters Kafka; secrets in clear. Invalid ``bad_setting``."""
    check_kafka(own)
    return {prefix + name: value for prefix in _CLIENTS for name, value in _client(own).items()}


def _client(own: KafkaSecurity) -> dict[str, str]:
    protocol, mechanism = own.security_protocol.upper(), own.sasl_mechanism.upper()
    if protocol == "PLAINTEXT":
        return {}
    found = {"security.protocol": protocol}
    if protocol.startswith("SASL"):
        found["sasl.mechanism"] = mechanism
        found["sasl.jaas.config"] = (
            f"{_MODULES[mechanism]} required username={_quoted(own.sasl_username)} "
            f"password={_quoted(own.sasl_password)};"
        )
    if protocol.endswith("SSL") and own.ca:
        found |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": Path(own.ca).read_text()}
    if protocol.endswith("SSL") and own.cert:
        found |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": Path(own.cert).read_text(),
            "ssl.keystore.key": pkcs8(Path(own.key), own.key_password).decode(),
        }
    return found


def _quoted(text: str) -> str:
    """A JAAS string. All but letters and digits is written in octal, so that neither its quotes nor Connect's
    ``${...}`` is read into it."""
    safe = (c if (c.isascii() and c.isalnum()) or ord(c) > 0xFF else f"\\{ord(c):03o}" for c in text)
    return f'"{"".join(safe)}"'
