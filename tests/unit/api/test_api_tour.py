"""The tour in the documentation runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import people
import pytest
from api_server import Running

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "api.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour is told with curl")
def test_the_tour(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "admin")
    (lines,) = re.findall(r"```sh tour\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    env = {**os.environ, "URL": running.url, "EMAIL": "ann@example.org", "PASSWORD": people.PASSWORD}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"token":"hr_' in ran.stdout
    assert '"database":"shop2"' in ran.stdout
    assert running.store.connection("shop").spec.password.get_secret_value() == "secret"
    assert ": hello" in ran.stdout
