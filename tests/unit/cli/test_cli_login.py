"""login, logout, whoami."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import ADMIN, ADMIN_PASSWORD, Cli

from support.lab import until


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Surroundings of a user on another machine."""
    data = tmp_path / "data"
    data.mkdir()
    return {
        "HEADRACE_DATA": str(data),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


def kept(elsewhere: dict[str, str]) -> Path:
    return Path(elsewhere["XDG_CONFIG_HOME"]) / "headrace" / "tokens.json"


def test_a_login_lasts_until_the_logout(cli: Cli, elsewhere: dict[str, str]) -> None:
    there = ["--server", cli.url]
    assert cli("status", *there, **elsewhere).code == 4
    entered = cli("login", *there, "--email", ADMIN, "--json", HEADRACE_PASSWORD=ADMIN_PASSWORD, **elsewhere)
    assert (entered.code, entered.json["user"], entered.err) == (0, ADMIN, "")
    file = kept(elsewhere)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = json.loads(file.read_text())[cli.url]["token"]
    assert token not in entered.out
    assert cli("status", *there, **elsewhere).code == 0
    me = cli("whoami", *there, "--json", **elsewhere).json
    assert (me["name"], me["role"], me["kind"]) == (ADMIN, "admin", "api_token")
    assert "users:write" in cli("whoami", *there, **elsewhere).out
    assert cli("logout", *there, "--json", **elsewhere).json["logged_out"] is True
    assert cli("status", *there, **elsewhere).code == 4
    assert cli("status", *there, HEADRACE_TOKEN=token, **elsewhere).code == 4
    again = cli("logout", *there, "--json", **elsewhere)
    assert (again.code, again.json["logged_out"]) == (0, False)


def test_the_variable_goes_before_what_is_kept(cli: Cli, elsewhere: dict[str, str]) -> None:
    there = ["--server", cli.url]
    cli("login", *there, "--email", ADMIN, HEADRACE_PASSWORD=ADMIN_PASSWORD, **elsewhere)
    assert cli("status", *there, HEADRACE_TOKEN="hr_wrong", **elsewhere).code == 4


def test_a_second_login_leaves_one_token(cli: Cli, elsewhere: dict[str, str]) -> None:
    words = ["login", "--server", f"{cli.url}/", "--json", "--password-stdin"]
    first = cli(*words, "--email", ADMIN, stdin=f"{ADMIN_PASSWORD}\n", **elsewhere).json
    second = cli(*words, "--days", "1", stdin=f"{ADMIN_PASSWORD}\r\n", **elsewhere).json
    assert second["expires_at"] < first["expires_at"]
    ids = {t["id"] for t in cli("tokens", "list", "--server", cli.url, "--json", **elsewhere).json}
    assert second["token"] in ids
    assert first["token"] not in ids
    assert list(json.loads(kept(elsewhere).read_text())) == [cli.url]


def test_no_session_stays_open_behind_a_login(cli: Cli, elsewhere: dict[str, str]) -> None:
    cli(
        "login",
        "--email",
        ADMIN,
        HEADRACE_PASSWORD=ADMIN_PASSWORD,
        **{**elsewhere, "HEADRACE_DATA": str(cli.data)},
    )
    assert cli.store.sessions(cli.store.user(ADMIN).id) == []


def test_a_wrong_password(cli: Cli, elsewhere: dict[str, str]) -> None:
    words = ["login", "--server", cli.url, "--email", ADMIN, "--password-stdin"]
    answer = cli(*words, stdin="wrong\n", **elsewhere)
    assert answer.code == 4
    assert "address or the password is wrong" in answer.err
    assert "HEADRACE_TOKEN" not in answer.err
    assert not kept(elsewhere).exists()


def test_nobody_is_asked_where_nobody_is(cli: Cli, elsewhere: dict[str, str]) -> None:
    there = ["--server", cli.url, "--json"]
    answer = cli("login", *there, "--email", ADMIN, **elsewhere)
    assert (answer.code, answer.json["error"]["code"]) == (2, "no_password")
    answer = cli("login", *there, "--email", ADMIN, "--password-stdin", stdin="", **elsewhere)
    assert (answer.code, answer.json["error"]["code"]) == (2, "no_password")
    answer = cli("login", *there, HEADRACE_PASSWORD="x", **elsewhere)
    assert (answer.code, answer.json["error"]["code"]) == (2, "no_email")


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(cli: Cli, elsewhere: dict[str, str]) -> None:
    here, there = pty.openpty()
    words = [sys.executable, "-m", "headrace", "login", "--server", cli.url]
    surroundings = {**os.environ, **elsewhere}
    # A session of its own without a controlling terminal: the password is asked for on the standard streams.
    with subprocess.Popen(
        words, stdin=there, stdout=there, stderr=there, env=surroundings, start_new_session=True
    ) as process:
        os.close(there)
        shown = ""

        def said(words: str) -> bool:
            nonlocal shown
            if select.select([here], [], [], 0)[0]:
                shown += os.read(here, 1000).decode()
            return words in shown

        until(lambda: said("E-mail: "), 30, "the question for the address")
        os.write(here, f"{ADMIN}\n".encode())
        until(lambda: said(f"Password of {ADMIN}: "), 30, "the question for the password")
        os.write(here, f"{ADMIN_PASSWORD}\n".encode())
        until(lambda: said(f"Logged in at {cli.url} as {ADMIN}"), 30, "the login")
        assert process.wait(30) == 0
    os.close(here)
    assert ADMIN_PASSWORD not in shown
    assert kept(elsewhere).exists()


@pytest.mark.parametrize(
    ("url", "warned"),
    [("http://192.0.2.1:1", True), ("http://127.0.0.1:1", False), ("http://localhost:1", False)],
)
def test_a_password_in_clear_text_is_warned_of(
    cli: Cli, elsewhere: dict[str, str], url: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy that is not there: nothing leaves this machine.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    answer = cli("login", "--server", url, "--email", "a@b.c", HEADRACE_PASSWORD="x", **elsewhere)
    assert answer.code == 5
    assert ("unencrypted" in answer.err) is warned


def test_a_logout_that_cannot_be_told_to_the_server_is_said(cli: Cli, elsewhere: dict[str, str]) -> None:
    cli("login", "--server", cli.url, "--email", ADMIN, HEADRACE_PASSWORD=ADMIN_PASSWORD, **elsewhere)
    gone = "http://127.0.0.1:1"
    file = kept(elsewhere)
    file.write_text(file.read_text().replace(cli.url, gone))
    answer = cli("logout", "--server", gone, **elsewhere)
    assert answer.code == 5
    assert "forgotten here" in answer.err
    assert json.loads(file.read_text()) == {}


def test_a_file_that_is_no_file_of_tokens_is_nothing_kept(cli: Cli, elsewhere: dict[str, str]) -> None:
    file = kept(elsewhere)
    file.parent.mkdir(parents=True)
    for text in ("", "[]", '{"http://x": 1}', "\0"):
        file.write_text(text)
        assert cli("status", "--server", cli.url, **elsewhere).code == 4
    cli("login", "--server", cli.url, "--email", ADMIN, HEADRACE_PASSWORD=ADMIN_PASSWORD, **elsewhere)
    assert cli("status", "--server", cli.url, **elsewhere).code == 0
