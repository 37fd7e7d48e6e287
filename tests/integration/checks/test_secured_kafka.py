"""Kafka with logins and certificates: the right ones enter, and each wrong one is told for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from headrace.capture.markers import consumer
from headrace.capture.topics import Topics
from headrace.checks import log
from headrace.entering import Cluster
from headrace.errors import Unavailable
from headrace.settings import KafkaSecurity
from support.certificates import Authority
from support.secured_kafka import SecuredKafka


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as running:
        yield running


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "other")


def test_the_right_ones_enter(kafka: SecuredKafka) -> None:
    for cluster in (kafka.sasl, kafka.mutual):
        assert log.kafka(cluster, external=False) == []
        assert {f.severity for f in log.kafka(cluster, external=True)} == {"warning"}
        name = f"t.{cluster.security.security_protocol}"
        Topics(cluster).create([name])
        assert Topics(cluster).ends([name]) == {name: 0}
        reader: Consumer = consumer(cluster, "g")
        assert name in reader.list_topics(timeout=10).topics
        reader.close()


def refusal(cluster: Cluster, **changes: str) -> tuple[str, str]:
    """Code and guidance, the same for the check and for a call."""
    wrong = Cluster(cluster.servers, replace(cluster.security, **changes))
    (finding,) = log.kafka(wrong, external=False)
    assert finding.severity == "error"
    with pytest.raises(Unavailable) as caught:
        Topics(wrong, timeout=1).metadata()
    assert (caught.value.code, caught.value.guidance) == (finding.code, finding.guidance)
    return finding.code, finding.guidance


def test_wrong_login(kafka: SecuredKafka) -> None:
    for changes in ({"sasl_password": "x"}, {"sasl_username": "x"}, {"sasl_mechanism": "PLAIN"}):
        code, guidance = refusal(kafka.sasl, **changes)
        assert code == "kafka_denied"
        assert "_SASL_PASSWORD" in guidance


def test_wrong_certificates(kafka: SecuredKafka, other: Authority) -> None:
    stranger = other.identity("stranger")
    for cluster in (kafka.sasl, kafka.mutual):
        for ca in (str(other.file), ""):
            code, guidance = refusal(cluster, ca=ca)
            assert (code, "HEADRACE_KAFKA_CA" in guidance) == ("kafka_tls", True)
    for cert, key in (("", ""), (str(stranger.cert_file), str(stranger.key_file))):
        code, guidance = refusal(kafka.mutual, cert=cert, key=key, key_password="")
        assert (code, "HEADRACE_KAFKA_CERT" in guidance) == ("kafka_tls", True)


def test_tls_where_there_is_none(kafka: SecuredKafka) -> None:
    plain = Cluster(kafka.service.url, kafka.mutual.security)
    code, guidance = refusal(plain)
    assert (code, "_SECURITY_PROTOCOL" in guidance) == ("kafka_tls", True)
    assert [f.code for f in log.kafka(Cluster(kafka.sasl.servers, KafkaSecurity()), False)] == [
        "kafka_unreachable"
    ]
