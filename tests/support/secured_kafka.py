"""A real broker that wants to know who calls: SCRAM over TLS at one port, client certificates at another."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import PrivateFormat

from headrace.entering import Cluster
from headrace.local.folder import prepare
from headrace.local.kafka import kafka_service
from headrace.local.ports import HOST, free_ports
from headrace.settings import KafkaSecurity

from .certificates import STORE_PASSWORD, Authority

# Of everything that somebody reads as something else on the way: JAAS, properties, references of Connect, Latin-1.
PASSWORD = "p\"a\\s's ${dir:x:y} $ü€;=,#"  # pragma: allowlist secret
KEY_PASSWORD = "another word"  # pragma: allowlist secret


class SecuredKafka:
    """One broker; a context manager. ``sasl`` and ``mutual``: how to enter it rightly."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "tls")
        own = self.authority.identity("client", form=PrivateFormat.TraditionalOpenSSL, password=KEY_PASSWORD)
        ca = str(self.authority.file)
        self._plain, sasl, mutual, controller = free_ports(4)
        self.sasl = Cluster(
            f"{HOST}:{sasl}", KafkaSecurity("SASL_SSL", "SCRAM-SHA-512", "headrace", PASSWORD, ca)
        )
        self.mutual = Cluster(
            f"{HOST}:{mutual}",
            KafkaSecurity(
                "SSL", ca=ca, cert=str(own.cert_file), key=str(own.key_file), key_password=KEY_PASSWORD
            ),
        )
        prepare(folder / "data")
        self.service = kafka_service(folder / "data", self._plain, self._settings(sasl, mutual, controller))

    def _settings(self, sasl: int, mutual: int, controller: int) -> dict[str, object]:
        outside = f"PLAINTEXT://{HOST}:{self._plain},SASL_SSL://{HOST}:{sasl},SSL://{HOST}:{mutual}"
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return {
            "listeners": f"{outside},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": outside,
            "listener.security.protocol.map": ",".join(
                ("PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", "SASL_SSL:SASL_SSL", "SSL:SSL")
            ),
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{module} required;",
            "listener.name.ssl.ssl.client.auth": "required",
            **stores("", self.authority),
        }

    def __enter__(self) -> SecuredKafka:
        try:
            self.service.start()
            self.service.wait_healthy()
            self.set_password(PASSWORD)
        except BaseException:
            self.service.stop()
            raise
        return self

    def set_password(self, password: str) -> None:
        """From the next login on."""
        admin = AdminClient({"bootstrap.servers": f"{HOST}:{self._plain}"})
        login = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        added = [UserScramCredentialUpsertion("headrace", login, password.encode())]
        for future in admin.alter_user_scram_credentials(added).values():
            future.result(30)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.service.stop()


def stores(prefix: str, authority: Authority) -> dict[str, object]:
    """A Java server's own certificate, and whose clients it believes."""
    return {
        f"{prefix}ssl.keystore.type": "PKCS12",
        f"{prefix}ssl.keystore.location": authority.key_store(authority.identity(f"{prefix}server")),
        f"{prefix}ssl.keystore.password": STORE_PASSWORD,
        f"{prefix}ssl.key.password": STORE_PASSWORD,
        f"{prefix}ssl.truststore.type": "PKCS12",
        f"{prefix}ssl.truststore.location": authority.trust_store(),
        f"{prefix}ssl.truststore.password": STORE_PASSWORD,
    }
