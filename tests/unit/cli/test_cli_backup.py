"""backup and restore: beside a running server, and while nothing runs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli

from headrace.settings import Settings
from headrace.store import Store
from headrace.store.archive import Reader


@pytest.fixture
def saved(cli: Cli, applied: str, tmp_path: Path) -> Path:
    file = tmp_path / "backup.zip"
    answer = cli("backup", str(file))
    assert (answer.code, answer.err) == (0, "")
    return file


@pytest.fixture
def other(cli: Cli, tmp_path: Path) -> Path:
    """Another folder with the same key."""
    data = tmp_path / "other"
    data.mkdir()
    (data / "secret.key").write_bytes((cli.data / "secret.key").read_bytes())
    return data


def pipelines(data: Path) -> set[str]:
    store = Store(Settings(data))
    try:
        return {p.name for p in store.pipelines()}
    finally:
        store.close()


def test_a_backup_beside_a_running_server(cli: Cli, applied: str, tmp_path: Path) -> None:
    file = tmp_path / "to keep" / "a b.zip"
    file.parent.mkdir()
    people = cli("backup", str(file))
    assert "keep secret.key with it, apart" in people.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert zipfile.is_zipfile(file)
    before = file.read_bytes()
    again = cli("backup", str(file), "--json")
    assert (again.code, again.json["error"]["code"]) == (1, "file_exists")
    assert file.read_bytes() == before
    forced = cli("backup", str(file), "--force", "--json").json
    assert forced["tables"]["pipelines"] >= 1
    assert forced["key"] == str(cli.data / "secret.key")
    assert (cli.data / "secret.key").read_text().strip() not in str(forced)
    assert [f.name for f in file.parent.iterdir()] == ["a b.zip"]


def test_a_backup_into_a_pipe(cli: Cli, other: Path) -> None:
    words = [sys.executable, "-m", "headrace", "backup", "-", "--data", str(cli.data)]
    done = subprocess.run(words, capture_output=True, timeout=60, check=True)
    assert b"keep secret.key with it" in done.stderr
    file = other.parent / "piped"
    file.write_bytes(done.stdout)
    with file.open("rb") as held:
        Reader(held, [(cli.data / "secret.key").read_text().strip()]).check()
    assert cli("restore", str(file), "--data", str(other)).code == 0


def test_a_pipe_that_nobody_reads_fails_the_backup(cli: Cli) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    words = [sys.executable, "-m", "headrace", "backup", "-", "--data", str(cli.data)]
    ended = subprocess.run(words, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writes)
    assert ended.returncode == 2
    assert "Broken pipe" in ended.stderr
    assert "Exception" not in ended.stderr


def test_a_disk_that_is_full_leaves_no_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "big"
    program = (
        "import resource, sys\n"
        # Files of this process may not grow over a few bytes.
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        f"sys.argv = ['headrace', 'backup', {str(file)!r}, '--data', {str(cli.data)!r}]\n"
        "from headrace.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, "File too large" in ended.stderr) == (2, True), ended.stderr
    assert "Exception" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_or_read(cli: Cli, tmp_path: Path, other: Path) -> None:
    answer = cli("backup", str(tmp_path / "no" / "such"), "--json")
    assert (answer.code, answer.json["error"]["code"]) == (2, "unwritable")
    answer = cli("restore", str(tmp_path / "none"), "--json", "--data", str(other))
    assert (answer.code, answer.json["error"]["code"]) == (2, "unreadable")
    file = tmp_path / "foreign"
    file.write_text("no backup")
    answer = cli("restore", str(file), "--json", "--data", str(other))
    assert (answer.code, answer.json["error"]["code"]) == (2, "bad_backup")
    empty = tmp_path / "empty"
    answer = cli("backup", str(tmp_path / "x"), "--json", "--data", str(empty))
    assert (answer.code, answer.json["error"]["code"]) == (4, "secret_key")
    assert not empty.exists()
    answer = cli("backup", str(tmp_path / "x"), "--json", "--data", str(other))
    assert (answer.code, answer.json["error"]["code"]) == (3, "no_metadata")
    assert not (tmp_path / "x").exists()
    for words in (["backup", "x"], ["restore", "x"]):
        answer = cli(*words, "--server", "http://127.0.0.1:1", "--json")
        assert (answer.code, answer.json["error"]["code"]) == (2, "local_only")


def test_a_restore_into_an_empty_place(cli: Cli, applied: str, saved: Path, other: Path) -> None:
    done = cli("restore", str(saved), "--data", str(other), "--json")
    assert done.code == 0
    assert done.json["rows"] == sum(done.json["tables"].values())
    assert applied in pipelines(other)
    store = Store(Settings(other))
    spec = store.connection("shop").spec
    assert spec.password is not None
    assert spec.password.get_secret_value() == "hunter2"
    store.put_connection("later", spec)
    store.close()
    refused = cli("restore", str(saved), "--data", str(other), "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "not_empty")
    assert "Restored" in cli("restore", str(saved), "--data", str(other), "--replace").out
    store = Store(Settings(other))
    assert "later" not in {c.name for c in store.connections()[0]}
    store.close()


def test_no_restore_under_a_running_server(cli: Cli, saved: Path, other: Path, tmp_path: Path) -> None:
    # Its signs of life are in the metadata, so that it may run on another machine.
    (cli.data / "server.json").rename(tmp_path / "elsewhere")
    try:
        answer = cli("restore", str(saved), "--replace", "--json")
    finally:
        (tmp_path / "elsewhere").rename(cli.data / "server.json")
    assert (answer.code, answer.json["error"]["code"]) == (4, "still_running")
    assert "server (process" in answer.json["error"]["message"]
    # A record that a killed server left behind is no sign of life.
    (other / "server.json").write_text(f'{{"data": "{other}", "url": "http://127.0.0.1:1", "pid": 1}}')
    (other / "token").write_text("x")
    assert cli("restore", str(saved), "--data", str(other)).code == 0


def test_another_key_is_told(cli: Cli, saved: Path, tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    data = tmp_path / "stranger"
    data.mkdir()
    (data / "secret.key").write_text(Fernet.generate_key().decode())
    answer = cli("restore", str(saved), "--data", str(data), "--json")
    assert (answer.code, answer.json["error"]["code"]) == (4, "secret_key")
    context: dict[str, Any] = answer.json["error"]["context"]
    assert set(context) == {"wanted", "here"}
    key = {"HEADRACE_SECRET_KEY": (cli.data / "secret.key").read_text().strip()}
    assert cli("restore", str(saved), "--data", str(data), **key).code == 0


def test_a_new_key_takes_the_place_of_the_old_one(cli: Cli, saved: Path, other: Path) -> None:
    from cryptography.fernet import Fernet

    assert cli("restore", str(saved), "--data", str(other)).code == 0
    old, new = (other / "secret.key").read_text().strip(), Fernet.generate_key().decode()
    (other / "secret.key").write_text(f"{new}\n{old}\n")
    said = cli("rotate-secrets", "--data", str(other), "--json")
    assert said.code == 0, said
    assert said.json["rotated"] >= 2
    (other / "secret.key").write_text(new)
    store = Store(Settings(other))
    assert store.connection("shop").spec.password.get_secret_value() == "hunter2"
    store.close()
    (other / "secret.key").write_text(old)
    refused = cli("rotate-secrets", "--data", str(other), "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "secret_key")
