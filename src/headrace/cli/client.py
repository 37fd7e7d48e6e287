"""The HTTP client: answers as data, failures as the errors the server raised."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headrace.cli.locate import Server, no_server, path_part
from headrace.errors import Bug, Denied, HeadraceError, NotFound, Unavailable, from_dict

# httpx has a program of its own, for which it imports click, rich and pygments when they are there: half of what
# a command of ours takes.
_click = sys.modules.get("click")
sys.modules["click"] = None  # type: ignore[assignment]
try:
    import httpx
finally:
    del sys.modules["click"]
    if _click is not None:
        sys.modules["click"] = _click

# Preflight asks databases that may be far away and slow.
_TIMEOUT = httpx.Timeout(300.0, connect=5.0)
_PAGE = 1000
# So long may a request lie in the queue while no worker shows signs of life.
_WORKER_GRACE = 30.0

JSON = dict[str, Any]


class Client:
    """Calls of one server. Every call raises the error the server answered, or Unavailable ``no_server``."""

    def __init__(self, server: Server, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self._server = server
        headers = {"authorization": f"Bearer {server.token}"} if server.token else {}
        # No proxy stands between us and a local server, whatever the environment says of the rest.
        self._http = httpx.Client(
            base_url=f"{server.url}/api/v1",
            headers=headers,
            timeout=timeout,
            trust_env=server.data is None,
            # Reading all certificates of the world takes as long as a call of a server that needs none.
            verify=not server.url.startswith("http:"),
        )

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def get(self, path: str, **query: Any) -> JSON:
        """GET a path under the API's base."""
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any = None, **query: Any) -> JSON:
        """POST JSON."""
        return self._call("POST", path, json=body if body is not None else {}, params=query)

    def put(self, path: str, body: Any = None, **query: Any) -> JSON:
        """PUT JSON."""
        return self._call("PUT", path, json=body if body is not None else {}, params=query)

    def delete(self, path: str, **query: Any) -> JSON:
        """DELETE."""
        return self._call("DELETE", path, params=query)

    def all(self, path: str, **query: Any) -> list[JSON]:
        """Every item of a list that comes in pages."""
        found: list[JSON] = []
        while True:
            page = self.get(path, **query, limit=_PAGE, offset=len(found))
            found += page["items"]
            if not page["items"] or len(found) >= page["total"]:
                return found

    def download(self, path: str, **query: Any) -> Iterator[bytes]:
        """The bytes that a GET answers, as they come."""
        asked = {k: v for k, v in query.items() if v is not None}
        with self._speaking(), self._http.stream("GET", f"/{path}", params=asked) as answer:
            if not answer.is_success:
                answer.read()
                raise _error(answer)
            yield from answer.iter_bytes()

    def finished(self, asked: JSON) -> Any:
        """Wait for a request; its result. Raises its error, or Unavailable ``no_worker``."""
        patience = Patience(self)
        while asked["status"] in ("queued", "running"):
            patience.wait(idle=asked["status"] == "queued")
            asked = self.get(f"requests/{asked['id']}")
        if asked["status"] == "failed":
            raise from_dict(asked["error"] or {})
        return asked["result"]

    def gone(self, name: str, seconds: float) -> None:
        """Wait until a pipeline is gone. Raises its error, or Unavailable ``timeout``/``no_worker``."""
        patience, until = Patience(self), time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                status = self.get(f"pipelines/{path_part(name)}/status")
            except NotFound:
                return
            if status["status"] == "error" and status["error"]:
                raise from_dict({"kind": "unavailable", **status["error"]})
            patience.wait(idle=True)
        raise Unavailable(
            "timeout", f"{name} is still being deleted after {seconds:.0f} s", "See `headrace logs`."
        )

    def worker_lives(self) -> bool:
        """Whether a worker shows signs of life."""
        parts = self.get("status")["components"]
        return any(c["name"] == "worker" and c["state"] == "running" for c in parts)

    def _call(self, method: str, path: str, **how: Any) -> JSON:
        with self._speaking():
            answer = self._http.request(method, f"/{path}", **how)
        if answer.is_success:
            found: JSON = answer.json() if answer.content else {}
            return found
        raise _error(answer)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise Unavailable(
                "server_slow", f"{self._server.url} does not answer", "See `headrace status`, try again."
            ) from None
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise _tls(self._server.url, error) or no_server(
                f"No Headrace server answers at {self._server.url} ({error})"
            ) from None


class Patience:
    """Pauses between looks, and the end of them when nobody works on what is waited for."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._dead_since: float | None = None
        self._asked = 0.0

    def wait(self, idle: bool) -> None:
        """Pause. idle: nobody has taken it up yet; raises Unavailable ``no_worker`` when nobody can."""
        time.sleep(0.3)
        now = time.monotonic()
        if not idle or now - self._asked < 3.0:
            return
        self._asked = now
        if self._client.worker_lives():
            self._dead_since = None
            return
        self._dead_since = self._dead_since or now
        if now - self._dead_since > _WORKER_GRACE:
            raise Unavailable(
                "no_worker", "No worker runs that could do it", "Start it: headrace up (or headrace worker)."
            )


def _tls(url: str, error: BaseException) -> Unavailable | None:
    """The error for a server that was reached, and with which TLS failed; None when it failed for another reason."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    said = str(cause).partition(" (_ssl")[0]
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = f"The certificate of {url} is not believed: {cause.verify_message}"
        guidance = "Name the CA (or the certificate itself) that you believe, a PEM file, in SSL_CERT_FILE."
        return Unavailable("server_certificate", why, guidance)
    guidance = "Does it speak TLS at that port? Check http or https in --server."
    return Unavailable("server_tls", f"{url} and Headrace do not agree on TLS: {said}", guidance)


def _error(answer: httpx.Response) -> HeadraceError:
    try:
        raw = answer.json()
    except ValueError:
        raw = None
    if isinstance(raw, dict) and "code" in raw:
        error = from_dict(raw)
        if error.code == "unauthorized":
            guidance = "For a remote server use headrace login or set HEADRACE_TOKEN; for a local one name its folder with --data."
            return Denied(error.code, error.message, guidance, error.context)
        return error
    said = f"{answer.request.url} answered {answer.status_code}"
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable("bad_gateway", said, "Is that a Headrace server?")
    return Bug("unexpected_answer", said, "Is that a Headrace server of the same version?")
