"""Log lines are JSON, belong to a call, and hold no secret."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import Invalid
from headrace.monitor.logging import MASK, redacted
from headrace.settings import from_environment

PROGRAM = """
import logging
from pathlib import Path
from headrace.actor import Actor, acting
from headrace.monitor.logging import set_up
from headrace.secrecy import known
from headrace.settings import Settings
set_up(Settings(Path(".")), "server")
known.learn("known-secret-value", "postgres")
log = logging.getLogger("headrace.x")
with acting(Actor("u1", "ann", request_id="r-1", pipeline="shop")):
    log.info("entered with %s", "known-secret-value")
log.info("postgres is a word of org.postgresql")
logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\\x1b[36mstarted"})
try:
    raise ValueError("password=hunter2 known-secret-value")
except ValueError:
    log.exception("failed")
log.debug("unseen")
"""


def test_lines_are_json_with_the_call_and_without_secrets() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    word = f"{MASK} is a word of org.postgresql"
    assert [line["message"] for line in lines] == [f"entered with {MASK}", word, "started", "failed"]
    assert [line.get("pipeline") for line in lines] == ["shop", None, None, None]
    assert (lines[0]["request_id"], lines[0]["user"], lines[0]["component"]) == ("r-1", "ann", "server")
    assert lines[0]["level"] == "info"
    assert "color_message" not in lines[2]
    assert lines[0]["ts"]
    assert "ValueError" in lines[3]["exception"]
    assert "hunter2" not in ran.stderr
    assert "known-secret" not in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hunter2@h/d", "password=hunter2", "'password': 'hunter2'", "Authorization: Bearer hunter2hunter2",
        "hr_0123456789abcdef0123456789abcdef.hunter2", "eyJhbGciOiJIUzI1NiJ9.hunter2.hunter2", "api_key: hunter2",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert "hunter2" not in redacted(text)
    assert MASK in redacted(text)


def test_plain_text_stays() -> None:
    assert (
        redacted("table public.users has 3 tokens and no secret")
        == "table public.users has 3 tokens and no secret"
    )
    assert logging.getLogger("headrace").propagate


def test_secrets_of_the_settings_are_known(tmp_path: Path) -> None:
    env = {
        "HEADRACE_DATABASE_URL": "postgresql://u:planted-1-of-url@h/d",
        "HEADRACE_REDIS": "redis://:planted-2-of-url@h/0",
        "HEADRACE_KAFKA_SASL_PASSWORD": "planted-3-kafka",
        "HEADRACE_CONNECT_PASSWORD": "planted-4-connect",
        "HEADRACE_SCHEMA_REGISTRY_KEY_PASSWORD": "planted-5-key",
        "HEADRACE_OIDC_CLIENT_SECRET": "planted-6-oidc",
        "HEADRACE_ADMIN_PASSWORD": "planted-7-admin",
    }
    held = from_environment(env, tmp_path).secrets
    assert sorted(held) == sorted(re.findall(r"planted-[\w-]+", " ".join(env.values())))
    assert from_environment({"HEADRACE_DATABASE_URL": "sqlite:///x.db"}, tmp_path).secrets == [""]


TEXT = """
import logging
from pathlib import Path
from headrace.monitor.logging import set_up
from headrace.settings import Settings
set_up(Settings(Path("."), log_format="text"), "server")
log = logging.getLogger("headrace.x")
fake = "2026-01-01 00:00:00,000 INFO headrace.access FAKE"
log.info("GET %s 404", f"/x\\n{fake}\\r\\x1b[2J\\x9b\\u2028\\u202e\\x00 caf\\u00e9")
try:
    raise ValueError(f"bad\\n{fake}\\x1b]0;")
except ValueError:
    log.exception("failed")
"""


def test_a_line_of_text_is_one_record() -> None:
    ran = subprocess.run([sys.executable, "-c", TEXT], capture_output=True, check=True)
    lines = ran.stderr.decode().split("\n")
    said = "\\x1b[2J\\x9b\\u2028\\u202e\\x00 café 404"
    assert lines[0].endswith(f"GET /x\\n2026-01-01 00:00:00,000 INFO headrace.access FAKE\\r{said}")
    assert lines[1].endswith("ERROR headrace.x failed")
    assert lines[-1] == ""
    # What an exception says is set in, so that nothing in it looks like a record.
    assert all(line.startswith("    ") for line in lines[2:-1])
    assert any("Traceback" in line for line in lines)
    assert lines[-2].endswith("FAKE\\x1b]0;")


@pytest.mark.parametrize("origins", ["*", "https://a.example,*", "https://*.example", "null"])
def test_nobody_lets_the_pages_of_all_sites_in(tmp_path: Path, origins: str) -> None:
    with pytest.raises(Invalid, match="HEADRACE_CORS_ORIGINS") as refused:
        from_environment({"HEADRACE_CORS_ORIGINS": origins}, tmp_path)
    assert refused.value.code == "bad_setting"
