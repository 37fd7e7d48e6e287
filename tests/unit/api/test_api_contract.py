"""Whatever is sent to the API, the answer is one that its OpenAPI document tells of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import people
import pytest
from api_server import Running

from headrace.settings import Web

ROOT = Path(__file__).resolve().parents[3]
# A 5xx that is not in the document is an undocumented answer; 503 is in it, for there is no Kafka here.
CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"


# Ids of what is there, so that calls get further than to say that it is not.
KNOWN = """
[parameters]
"path.id" = "p"
"path.connection_id" = "a"

[[operations]]
include-path-regex = "/connections/"
parameters = { "path.id" = "a" }

[[operations]]
include-method = "DELETE"
enabled = false
"""


@pytest.fixture
def web() -> Web:
    """Nobody calls too often: what is behind the limits is what is asked for."""
    return Web(rate_principal=10**6, rate_anonymous=10**6)


def storm(url: str, token: str, examples: int, folder: Path) -> None:
    """Requests made up from the document: well-formed, at its edges, and malformed."""
    # One worker: two threads that parse at once end CPython 3.11 with a SystemError (python/cpython#106905).
    headers = ["-H", f"Authorization: Bearer {token}"] if token else []
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{url}/api/v1/openapi.json", *headers,
            "--checks", CHECKS, "--phases", "coverage,fuzzing", "--max-examples", str(examples), "--workers", "1",
            "--exclude-path", "/api/v1/live/events", "--no-color", "--seed", "7", "--max-failures", "20",
            "--suppress-health-check", "all",
        ],
        cwd=folder, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    print(ran.stdout[-1500:])
    failed, _, _ = ran.stdout.partition("= WARNINGS")
    assert ran.returncode == 0, failed[-6000:]
    assert httpx.get(f"{url}/api/v1/health/live").status_code == 200


def token_of(api: httpx.Client, running: Running, role: str) -> str:
    """An API token of somebody with the role, which no call of the storm ends."""
    people.add(api, role, role)
    with people.client(running, people.tokens(running, role)["access_token"]) as own:
        return str(own.post("tokens", json={"name": "storm", "scopes": ["*"]}).json()["token"])


def test_a_storm_of_nobody(running: Running, tmp_path: Path) -> None:
    storm(running.url, "", 1, tmp_path)


def test_a_storm_of_the_local_admin(running: Running, tmp_path: Path) -> None:
    storm(running.url, running.token, 1, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("role", ["admin", "operator", "viewer", "user"])
def test_a_storm_of_each_role(api: httpx.Client, running: Running, role: str, tmp_path: Path) -> None:
    storm(running.url, token_of(api, running, role), 20, tmp_path)


@pytest.mark.full
@pytest.mark.usefixtures("pipeline")
@pytest.mark.parametrize("role", ["admin", "operator", "viewer", "user"])
def test_a_storm_of_each_role_at_what_is_there(
    api: httpx.Client, running: Running, role: str, tmp_path: Path
) -> None:
    (tmp_path / "schemathesis.toml").write_text(KNOWN)
    storm(running.url, token_of(api, running, role), 20, tmp_path)


def test_the_document_is_whole_and_committed(api: httpx.Client) -> None:
    told = api.get("openapi.json").json()
    kept = json.loads((ROOT / "openapi.json").read_text("utf-8"))
    assert told == kept, "run: python docs/generate.py"
    operations = [o for item in told["paths"].values() for o in item.values()]
    assert len({o["operationId"] for o in operations}) == len(operations)
    for operation in operations:
        assert operation["description"], operation["operationId"]
        assert operation["x-permission"]
        done = [
            r for status, r in operation["responses"].items() if status.startswith("2") and "content" in r
        ]
        kinds = [c for r in done for kind, c in r["content"].items() if kind == "application/json"]
        assert all(c.get("schema") for c in kinds), operation["operationId"]


@pytest.mark.parametrize(
    ("page", "script"), [("docs", "swagger-ui-bundle.js"), ("redoc", "redoc.standalone.js")]
)
def test_the_documentation_needs_no_network(running: Running, page: str, script: str) -> None:
    answer = httpx.get(f"{running.url}/api/{page}")
    assert answer.status_code == 200
    assert "https://" not in answer.text
    asset = httpx.get(f"{running.url}/api/docs-assets/{script}")
    assert asset.status_code == 200
    assert len(asset.content) > 100_000
    assert httpx.get(f"{running.url}/api/docs-assets/../app.py").status_code == 404
