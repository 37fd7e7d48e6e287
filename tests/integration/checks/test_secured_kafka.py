"""Kafka with logins and certificates: the right ones enter, and each wrong one is told for what it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.apply.applier import Applier, Hooks
from headrace.capture.markers import Reader, await_first, await_marker
from headrace.capture.tail import why_shorter
from headrace.capture.topics import Head, Topics
from headrace.checks import log
from headrace.engines.model import Progress, TableName
from headrace.engines.postgres import catalog, progress
from headrace.engines.postgres.connection import Login
from headrace.engines.postgres.connection import connect as open_connection
from headrace.entering import Cluster
from headrace.errors import Unavailable
from headrace.local.postgres import PostgresServer
from headrace.plan.routes import routes
from headrace.settings import KafkaSecurity
from headrace.spec.models import PipelineSpec
from support.certificates import Authority
from support.lab import until
from support.secured_kafka import PASSWORD, SecuredKafka


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
        reader = Reader(cluster, "g")
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


def test_readers_say_why_they_do_not_enter(kafka: SecuredKafka) -> None:
    wrong = Cluster(kafka.sasl.servers, replace(kafka.sasl.security, sasl_password="x"))
    readers: list[Callable[[], object]] = [
        lambda: await_first(wrong, "t", "m", bytes.decode, timeout=20),
        lambda: await_marker(wrong, "t", lambda: "m", bytes.decode),
        lambda: why_shorter(wrong, "t", Head("i", 1, 0), Head("i", 1, 1)),
    ]
    for read in readers:
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            read()
        assert caught.value.code == "kafka_denied"
        assert time.monotonic() - began < 8


@pytest.fixture
def applier(kafka: SecuredKafka) -> Iterator[Applier]:
    """One that runs, with a live table ``t``; it has nothing to apply."""
    with PostgresServer(fsync=False) as server:
        login = Login("127.0.0.1", "postgres", "postgres", server.password or "", server.port)
        table = TableName("public", "t")
        Topics(kafka.sasl).create(["applied"])
        with open_connection(login) as conn:
            conn.execute("CREATE TABLE public.t (id int PRIMARY KEY)")
            (route,) = routes(PipelineSpec(source="a", target="b"), catalog.describe(conn, [table]))
            progress.install(conn)
            id_ = Topics(kafka.sasl).ids(["applied"])["applied"]
            progress.put(conn, Progress("p", "g", "applied", table, table, id_, state="live"))
        hooks = Hooks(
            route=lambda _: route,
            lenient=lambda _: frozenset(),
            broken=lambda _, error: pytest.fail(error.message),
            evolve=lambda *_: False,
            log=lambda *_: None,
        )
        made = Applier(pipeline="p", kafka=kafka.sasl, source=login, target=login, token="x", hooks=hooks)  # nosec B106
        thread = threading.Thread(target=made.run)
        thread.start()
        yield made
        made.stop()
        thread.join()


def test_an_applier_that_is_no_longer_let_in_says_so(kafka: SecuredKafka, applier: Applier) -> None:
    def code() -> str | None:
        return applier.trouble.code if applier.trouble else None

    until(lambda: applier.reached() != {}, 30, "a table that is applied")
    kafka.set_password("another")
    try:
        kafka.service.stop()
        kafka.service.start()
        kafka.service.wait_healthy()
        until(lambda: code() == "kafka_denied", 30, "a refusal")
    finally:
        kafka.set_password(PASSWORD)
    until(lambda: code() is None and applier.reached() != {}, 60, "a table that is applied again")
