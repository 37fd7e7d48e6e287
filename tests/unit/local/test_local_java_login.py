"""What the embedded Connect is told of a Kafka with logins, and which logins the embedded Kafka refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.errors import Invalid
from headrace.local.java_login import worker_security
from headrace.local.jvm import properties, write_config
from headrace.local.supervise import Options, surroundings
from headrace.settings import KafkaSecurity

WORD = "a\"b\\c'd ${dir:x:y};ü€"  # pragma: allowlist secret


def test_nothing_is_said_of_a_kafka_without() -> None:
    assert worker_security(KafkaSecurity()) == {}


def test_every_client_of_the_worker_is_told() -> None:
    told = worker_security(KafkaSecurity("sasl_plaintext", "scram-sha-512", "u", WORD))
    for prefix in ("", "producer.", "consumer.", "admin."):
        assert told[f"{prefix}security.protocol"] == "SASL_PLAINTEXT"
        assert told[f"{prefix}sasl.mechanism"] == "SCRAM-SHA-512"
        assert told[f"{prefix}sasl.jaas.config"].startswith("org.apache.kafka.common.security.scram.Scram")
    assert len(told) == 12


def test_a_password_ends_no_string() -> None:
    line = worker_security(KafkaSecurity("SASL_SSL", "PLAIN", "u", WORD))["sasl.jaas.config"]
    found = re.fullmatch(r'\S+PlainLoginModule required username="u" password="([^"]*)";', line)
    assert found
    assert "${" not in line
    assert re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), found[1]) == WORD


def test_properties_keep_lines_and_letters(tmp_path: Path) -> None:
    text = properties({"a": "1\n2", "b": 'é"\\€'})
    assert text == 'a=1\\n2\nb=\\u00e9"\\\\\\u20ac\n'
    (file := tmp_path / "x.properties").touch(mode=0o644)
    write_config(file, {"a": 1})
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid):
        worker_security(KafkaSecurity("SASL_SSL", "GSSAPI", "u", "p"))
    monkeypatch.setenv("HEADRACE_KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.delenv("HEADRACE_KAFKA", raising=False)
    with pytest.raises(Invalid, match="HEADRACE_KAFKA names none"):
        surroundings(Options(tmp_path))
    monkeypatch.setenv("HEADRACE_KAFKA", "b:1")
    assert surroundings(Options(tmp_path)).kafka_security.security_protocol == "SSL"
    monkeypatch.setenv("HEADRACE_KAFKA_CA", str(tmp_path / "absent"))
    with pytest.raises(Invalid, match="HEADRACE_KAFKA_CA"):
        surroundings(Options(tmp_path))
