"""Secrets among the settings that a user gives a pipeline's connector: sealed where they lie, masked where they show."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_server import Running

from headrace.secrecy import MASK
from headrace.spec.models import PipelineSpec

SECRET, LOGIN = "planted-own-55", "planted-login-66"
OWN = {"database.sslpassword": SECRET, "x.url": f"http://u:{LOGIN}@h/", "poll.interval.ms": "50"}
SHOWN = {"database.sslpassword": MASK, "x.url": f"http://u:{MASK}@h/", "poll.interval.ms": "50"}


@pytest.fixture
def spec(api: httpx.Client, pipeline: PipelineSpec) -> dict[str, Any]:
    """A pipeline ``p`` with settings of its own, as it was sent."""
    body = {"source": "a", "target": "b", "connector": OWN}
    answer = api.put("pipelines/p", json=body)
    assert answer.status_code == 200, answer.text
    return body


def test_they_are_told_to_nobody(running: Running, api: httpx.Client, spec: dict[str, Any]) -> None:
    said = [
        api.get(path).text
        for path in ("pipelines", "pipelines/p", "audit", "audit/export?format=csv", "pipelines/p/logs")
    ]
    assert api.get("pipelines/p").json()["spec"]["connector"] == SHOWN
    assert api.get("pipelines").json()["items"][0]["spec"]["connector"] == SHOWN
    with running.store._reading() as transaction:
        said.append(str(transaction.exec_driver_sql("SELECT spec FROM pipelines").all()))
    assert not [text for text in said if SECRET in text or LOGIN in text]
    assert running.store.pipeline("p").spec.connector == OWN


def test_what_was_shown_may_be_sent_back(running: Running, api: httpx.Client, spec: dict[str, Any]) -> None:
    version = running.store.pipeline("p").spec_version
    assert api.put("pipelines/p", json={**spec, "connector": SHOWN}).status_code == 200
    assert running.store.pipeline("p").spec_version == version
    more = {**SHOWN, "poll.interval.ms": "60"}
    assert api.put("pipelines/p", json={**spec, "connector": more}).status_code == 200
    assert running.store.pipeline("p").spec.connector == {**OWN, "poll.interval.ms": "60"}
    lost = api.put("pipelines/p", json={**spec, "connector": {"another.password": MASK}})
    assert (lost.status_code, lost.json()["code"]) == (422, "secret_needed")


def test_another_key_seals_them_too(running: Running, spec: dict[str, Any]) -> None:
    def stored() -> str:
        with running.store._reading() as transaction:
            return str(transaction.exec_driver_sql("SELECT spec FROM pipelines").all())

    before = stored()
    running.store.rotate_secrets()
    assert stored() != before
    assert running.store.pipeline("p").spec.connector == OWN
