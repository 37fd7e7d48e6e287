"""Start, break, stop a whole installation on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from headrace.errors import Conflict, Unavailable
from headrace.local import installation
from headrace.local.detach import up_detached
from headrace.local.supervise import Options

Until = Callable[..., None]


def row(options: Options, name: str) -> dict[str, object]:
    return next(r for r in installation.status(options.data) if r["name"] == name)


def processes(options: Options) -> list[psutil.Process]:
    """Every living process of the installation."""
    run = installation.load(options.data)
    assert run
    everyone = [run.supervisor, *(c.identity for c in run.components if c.identity)]
    return [p for p in (identity.find() for identity in everyone) if p]


def test_from_up_to_down(options: Options, until: Until) -> None:
    up_detached(options)
    assert installation.ready(options.data)
    assert installation.current() == {"data": str(options.data), "url": options.url}
    assert [r["name"] for r in installation.status(options.data)] == ["kafka", "connect", "server", "worker"]

    with pytest.raises(Conflict) as second:
        up_detached(options)
    assert second.value.code == "already_running"
    assert second.value.context["url"] == options.url

    before = row(options, "connect")["pid"]
    psutil.Process(int(str(before))).kill()
    until(lambda: row(options, "connect")["pid"] not in (before, None))
    until(lambda: installation.ready(options.data))

    family = processes(options)
    assert installation.down(options.data)
    assert not any(p.is_running() for p in family)
    assert installation.current() is None
    assert {r["state"] for r in installation.status(options.data)} == {"stopped"}


def test_killed_supervisor_leaves_nothing_and_the_next_start_works(options: Options, until: Until) -> None:
    up_detached(options)
    family = processes(options)
    assert len(family) == 5
    family[0].kill()
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), seconds=5)
    assert (options.data / "run.json").exists()
    assert {r["state"] for r in installation.status(options.data)} == {"stopped"}
    up_detached(options)
    assert installation.ready(options.data)


@pytest.mark.parametrize(
    ("taken", "option"),
    [("port", "--port"), ("kafka_port", "--kafka-port"), ("connect_port", "--connect-port")],
)
def test_busy_port(options: Options, taken: str, option: str) -> None:
    with socket.create_server(("127.0.0.1", getattr(options, taken))):
        with pytest.raises(Conflict) as busy:
            up_detached(options)
    assert str(getattr(options, taken)) in busy.value.message
    assert option in busy.value.guidance


def test_component_that_does_not_come_up_ends_everything(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("HEADRACE_CONNECT", "http://127.0.0.1:1")
    broken = replace(
        options, commands=dict(options.commands) | {"server": ["sh", "-c", "echo no database; exit 1"]}
    )
    with pytest.raises(Unavailable) as failed:
        up_detached(broken)
    assert failed.value.context["component"] == "server"
    assert "no database" in failed.value.context["log"]
    assert installation.load(options.data) is None


def test_external_engine_is_used_and_not_started(
    options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA", "kafka.internal:9092")
    monkeypatch.setenv("HEADRACE_CONNECT", "http://connect.internal:8083")
    seen = tmp_path / "seen"
    worker = ["sh", "-c", f"env > {seen}; exec sleep 1000"]
    up_detached(replace(options, commands=dict(options.commands) | {"worker": worker}))
    assert row(options, "kafka") == {
        "name": "kafka",
        "pid": None,
        "state": "external",
        "url": "kafka.internal:9092",
    }
    assert len(processes(options)) == 3
    assert "HEADRACE_CONNECT=http://connect.internal:8083" in seen.read_text()
