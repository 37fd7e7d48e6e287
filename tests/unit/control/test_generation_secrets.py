"""Secrets among a pipeline's own connector settings stay out of what Kafka Connect shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat, load_der_private_key

from headrace.control.generation import Makers, invent
from headrace.control.preflight import _key_form, _secret_way
from headrace.engines.postgres.capture import connector
from headrace.engines.postgres.connection import Login
from headrace.errors import Invalid, Precondition
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec
from support.certificates import Authority

SECRET = "s3cret-of-the-user"  # pragma: allowlist secret
LOGIN = Login("db", "d", "u", password="of-the-source")
CONNECTION = ConnectionSpec.model_validate(
    {"engine": "postgres", "host": "db", "database": "d", "user": "u", "password": "of-the-source"}
)


@pytest.fixture
def connect() -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """What stands for Kafka Connect's REST API: its URL, and the configurations that it was given."""
    kept: dict[str, dict[str, str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, found: object) -> None:
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def _body(self) -> dict[str, dict[str, str]]:
            found: dict[str, dict[str, str]] = json.loads(
                self.rfile.read(int(self.headers["Content-Length"]))
            )
            return found

        def do_GET(self) -> None:
            self._answer(kept.get(self.path.split("/")[2]))

        def do_POST(self) -> None:
            body = self._body()
            kept[str(body["name"])] = body["config"]
            self._answer({})

        def do_PUT(self) -> None:
            kept[self.path.split("/")[2]] = dict(self._body())  # type: ignore[arg-type]
            self._answer({})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", kept
    server.shutdown()
    server.server_close()


def spec(**connector: str) -> PipelineSpec:
    settings = {k.replace("_", "."): v for k, v in connector.items()}
    return PipelineSpec.model_validate({"source": "s", "target": "t", "connector": settings})


def test_hidden_in_the_folder(connect: tuple[str, dict[str, dict[str, str]]], tmp_path: Path) -> None:
    url, kept = connect
    makers = Makers(Settings(tmp_path, connect=url, connect_secrets=tmp_path))
    own = spec(database_sslpassword=SECRET, my_token="${vault:x:y}", database_password=SECRET, poll="7")
    generation = invent("p", own, True)
    makers._configure("p", generation, own, LOGIN, [])
    (config,) = kept.values()
    assert SECRET not in json.dumps(config)
    assert config["my.token"] == "${vault:x:y}"
    assert config["poll"] == "7"
    reference = config["database.sslpassword"].removeprefix(f"${{dir:{tmp_path}:").removesuffix("}")
    file = tmp_path / reference
    assert (file.read_text(), file.stat().st_mode & 0o777) == (SECRET, 0o600)
    # The login's password is not the one of the settings, which Headrace's own win over.
    assert [f.read_text() for f in tmp_path.glob("*.password")] == ["of-the-source"]

    with pytest.raises(Invalid, match=r"heartbeat\.topics\.prefix"):
        makers._configure(
            "p", generation, spec(heartbeat_topics_prefix=config["database.password"]), LOGIN, []
        )
    makers._configure("p", generation, spec(poll="8"), LOGIN, [])
    assert not file.exists()
    assert [f.read_text() for f in tmp_path.glob("*.password")] == ["of-the-source"]
    makers.close()


def test_what_pgjdbc_reads(connect: tuple[str, dict[str, dict[str, str]]], tmp_path: Path) -> None:
    url, kept = connect
    own = Authority(tmp_path / "tls").identity("client", form=PrivateFormat.TraditionalOpenSSL)
    files = {"ca": "/ca", "cert": "/cert", "key": str(own.key_file)}
    makers = Makers(Settings(tmp_path, connect=url, connect_secrets=tmp_path))
    makers._configure("p", invent("p", spec(), True), spec(), replace(LOGIN, tls="require", **files), [])
    (config,) = kept.values()
    file = Path(config["database.sslkey"])
    assert (file.parent, file.stat().st_mode & 0o777) == (tmp_path, 0o600)
    key = load_der_private_key(file.read_bytes(), None)
    assert key.private_numbers() == own.key.private_numbers()  # type: ignore[union-attr]
    assert config["database.sslmode"] == "verify-ca"
    makers.close()

    external = Settings(tmp_path, connect=url, connect_plain_secrets=True)
    (finding,) = _key_form(external, CONNECTION.model_copy(update=files))
    assert (finding.code, finding.severity) == ("connect_key_form", "warning")
    assert _key_form(external, CONNECTION.model_copy(update={"key": str(file)})) == []
    assert _key_form(external, CONNECTION) == []


@pytest.mark.parametrize(
    ("tls", "ca", "wanted"),
    [
        ("require", "/ca", "verify-ca"),
        ("require", None, "require"),
        ("prefer", "/ca", "prefer"),
        ("verify-full", "/ca", "verify-full"),
    ],
)
def test_both_drivers_verify_alike(tls: str, ca: str | None, wanted: str) -> None:
    login = replace(LOGIN, tls=tls, ca=ca)  # type: ignore[arg-type]
    names = invent("p", spec(), True).names
    config = connector(login, names, pipeline="p", token="t", password="x", messages=True)
    assert config["database.sslmode"] == wanted


def test_refused_where_nothing_hides_it(
    connect: tuple[str, dict[str, dict[str, str]]], tmp_path: Path
) -> None:
    url, kept = connect
    external = Settings(tmp_path, connect=url, connect_secret_reference="${vault:{connection}:password}")
    own = spec(database_sslpassword=SECRET)
    makers = Makers(external)
    with pytest.raises(Precondition) as caught:
        makers._configure("p", invent("p", own, True), own, LOGIN, [])
    assert (caught.value.code, kept) == ("connect_secret", {})
    assert SECRET not in str(caught.value.as_dict())
    assert [f.code for f in _secret_way(external, own, CONNECTION)] == ["connect_secret"]
    assert _secret_way(external, spec(my_token="${vault:a:b}"), CONNECTION) == []
    makers.close()

    allowed = replace(external, connect_plain_secrets=True)
    assert _secret_way(allowed, own, CONNECTION) == []
    makers = Makers(allowed)
    makers._configure("p", invent("p", own, True), own, LOGIN, [])
    assert next(iter(kept.values()))["database.sslpassword"] == SECRET
    makers.close()
