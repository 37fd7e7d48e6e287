"""Kafka Connect behind HTTPS, client certificates and a login, itself entering Kafka by a certificate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from headrace.capture.connect import Connect
from headrace.capture.rest import Rest
from headrace.checks import log
from headrace.control.components import _connect
from headrace.entering import http_arguments
from headrace.errors import HeadraceError
from headrace.local.connect import connect_service
from headrace.local.fetch import fetch
from headrace.local.folder import prepare
from headrace.local.ports import HOST, free_port
from headrace.settings import HttpSecurity, Settings
from support.certificates import Authority
from support.secured_kafka import SecuredKafka, stores

EXTENSION = "org.apache.kafka.connect.rest.basic.auth.extension"
KEY_PASSWORD, PASSWORD = "of the key", "of:the=user ü"  # pragma: allowlist secret


@dataclass
class Secured:
    """url, security: how to enter it rightly. authority: whom it believes. other: whom it does not."""

    url: str
    security: HttpSecurity
    kafka: SecuredKafka
    other: Authority


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("connect")
    prepare(data := folder / "data")
    (jaas := folder / "jaas").write_text(
        f'KafkaConnect {{ {EXTENSION}.PropertyFileLoginModule required file="{folder / "logins"}"; }};'
    )
    (folder / "logins").write_text("headrace=of:the\\=user \\u00fc\n")
    with SecuredKafka(folder / "kafka") as kafka:
        own = kafka.authority.identity("headrace", password=KEY_PASSWORD)
        given = HttpSecurity(
            "headrace",
            PASSWORD,
            str(kafka.authority.file),
            str(own.cert_file),
            str(own.key_file),
            KEY_PASSWORD,
        )
        url = f"https://{HOST}:{(port := free_port())}"
        settings = {
            "listeners": url,
            "rest.extension.classes": f"{EXTENSION}.BasicAuthSecurityRestExtension",
            "listeners.https.ssl.client.auth": "required",
            **stores("listeners.https.", kafka.authority),
        }
        service = connect_service(
            data, port, kafka.mutual.servers, settings=settings, security=kafka.mutual.security
        )
        service = replace(
            service,
            command=lambda words=service.command: with_logins(words(), jaas),
            healthy=lambda: healthy(url, given),
        )
        service.start()
        try:
            service.wait_healthy()
            yield Secured(url, given, kafka, Authority(folder / "other"))
        finally:
            service.stop()


def with_logins(words: Sequence[str], jaas: Path) -> list[str]:
    """A worker's command with the extension on its class path: Java finds a login module in no folder of plugins."""
    java, *rest = words
    at = rest.index("-cp") + 1
    rest[at] = ":".join([rest[at], *map(str, fetch(["connect-basic-auth"]))])
    return [java, f"-Djava.security.auth.login.config={jaas}", *rest]


def healthy(url: str, security: HttpSecurity) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, **http_arguments(security)).is_success
    except httpx.HTTPError:
        return False


def refusal(secured: Secured, **changes: str) -> tuple[str, str]:
    """Code and guidance of the check; calls say the same code."""
    wrong = replace(secured.security, **changes)
    (finding,) = log.connect(secured.url, wrong)
    assert (finding.side, finding.severity) == ("connect", "error")
    rest, connect = Rest(secured.url, wrong), Connect(secured.url, wrong)
    for verb in (lambda: rest.get("/connectors"), lambda: connect.config("x")):
        with pytest.raises(HeadraceError) as caught:
            verb()
        assert caught.value.code == finding.code
    rest.close()
    connect.close()
    return finding.code, finding.guidance


def test_the_right_ones_enter(secured: Secured, tmp_path: Path) -> None:
    assert log.connect(secured.url, secured.security) == []
    rest, connect = Rest(secured.url, secured.security), Connect(secured.url, secured.security)
    assert rest.get("/connectors") == []
    assert connect.config("x") is None
    rest.close()
    connect.close()
    settings = Settings(tmp_path, connect=secured.url, connect_security=secured.security)
    assert _connect(settings)
    assert not _connect(replace(settings, connect_security=replace(secured.security, password="x")))


@pytest.mark.parametrize("changes", [{"password": "x"}, {"user": "x"}, {"user": "", "password": ""}])
def test_wrong_login(secured: Secured, changes: dict[str, str]) -> None:
    code, guidance = refusal(secured, **changes)
    assert code == "connect_denied"
    assert "HEADRACE_CONNECT_PASSWORD" in guidance


def test_wrong_certificates(secured: Secured) -> None:
    stranger = secured.other.identity("stranger")
    nobody = {"cert": "", "key": "", "key_password": ""}
    for changes in (nobody, {**nobody, "cert": str(stranger.cert_file), "key": str(stranger.key_file)}):
        code, guidance = refusal(secured, **changes)
        assert (code, "HEADRACE_CONNECT_CERT" in guidance) == ("connect_tls", True)
    code, guidance = refusal(secured, ca=str(secured.other.file))
    assert (code, "HEADRACE_CONNECT_CA" in guidance) == ("connect_tls", True)
