"""Kafka Connect's REST API for faces: answers soon, keeps Connect's own status, rests while Connect is away."""

from __future__ import annotations

import logging
import random
import time
from typing import Any
from urllib.parse import quote

import httpx

from headrace.capture.hiding import unveiled
from headrace.entering import http_arguments, http_tls
from headrace.errors import Conflict, HeadraceError, Invalid, NotFound, Unavailable
from headrace.fuse import Fuse
from headrace.settings import HttpSecurity

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 2.0
_CALL_SECONDS = 10.0
_PATIENCE = 3.0
# All of one call, with what is tried again; a read holds a thread that others wait for.
_READ_SECONDS = 10.0
_WRITE_SECONDS = _PATIENCE + _CALL_SECONDS
_FAILURES = 5
_REST_SECONDS = 5.0
# The server has forty threads.
_AT_ONCE = 10
_TURN_SECONDS = 0.2
# What may be asked again without doing it twice.
_REPEATABLE = frozenset({"GET", "PUT"})


class Rest:
    """One HTTP service with Kafka Connect's manners (a schema registry has them too). Threads may share it.

    name, what: of the service in codes and in words. read_seconds: of a GET, with what is tried again. Every call
    raises the error of the service's answer, with its own status as ``http_status`` in the context, or Unavailable
    ``<name>_unreachable``, ``<name>_resting`` and ``<name>_crowded``.
    """

    def __init__(
        self,
        url: str,
        security: HttpSecurity,
        name: str = "connect",
        what: str = "Kafka Connect",
        read_seconds: float = _READ_SECONDS,
    ) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            limits=httpx.Limits(max_connections=_AT_ONCE, keepalive_expiry=30),
            **http_arguments(security),
        )
        self.name, self.what, self._read_seconds = name, what, read_seconds
        self._fuse = Fuse(
            name,
            what,
            "Check that it runs (`headrace status`), then try again.",
            httpx.TransportError,
            failures=_FAILURES,
            rest=_REST_SECONDS,
            most=_AT_ONCE,
            patience=_TURN_SECONDS,
        )

    def close(self) -> None:
        """Give back the connection pool."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET; a rebalance and a lost connection are tried again for some seconds."""
        return self.call("GET", path, params=query)

    def call(self, method: str, path: str, *, body: Any = None, params: Any = None) -> Any:
        """One call; what may be repeated is, with jitter, while the service is busy or its connection breaks."""
        began, pause = time.monotonic(), 0.1
        end = began + (self._read_seconds if method == "GET" else _WRITE_SECONDS)
        until = min(end, began + _PATIENCE)
        while True:
            try:
                return self._answer(method, path, self._once(method, path, body, params, end))
            except HeadraceError as error:
                passing = error.code in (f"{self.name}_busy", f"{self.name}_unreachable")
                if not passing or method not in _REPEATABLE or time.monotonic() + pause > until:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))  # nosec B311: jitter, no secret
            pause *= 2

    def _once(self, method: str, path: str, body: Any, params: Any, end: float) -> httpx.Response:
        try:
            with self._fuse.turn():
                return self._whole(method, path, body, params, end)
        except httpx.TransportError as error:
            raise self._away(error) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Invalid(
                "bad_request", f"{self.what} cannot be asked that: {type(error).__name__}"
            ) from None

    def _whole(self, method: str, path: str, body: Any, params: Any, end: float) -> httpx.Response:
        """The answer with its content; ReadTimeout also when it comes so slowly that it is not there at the end."""
        left = max(0.1, min(_CALL_SECONDS, end - time.monotonic()))
        patience = httpx.Timeout(left, connect=min(left, _CONNECT_SECONDS))
        content = bytearray()
        with self._http.stream(method, path, json=body, params=params, timeout=patience) as answer:
            for piece in answer.iter_bytes():
                content += piece
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("slow", request=answer.request)
        return httpx.Response(answer.status_code, content=bytes(content))

    def _answer(self, method: str, path: str, answer: httpx.Response) -> Any:
        if not answer.is_success:
            raise self._problem(method, path, answer)
        if method != "GET":
            _log.info("asked %s: %s %s", self.what, method, path)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise Unavailable(
                f"{self.name}_answer", f"{self.what} did not answer in JSON", "Is its URL right?"
            ) from None

    def _away(self, error: Exception) -> Unavailable:
        if tls := http_tls(error, f"HEADRACE_{self.name.upper()}"):
            said, guidance = tls
            return Unavailable(f"{self.name}_tls", f"{self.what} and TLS: {said}", guidance)
        return Unavailable(
            f"{self.name}_unreachable",
            f"{self.what} cannot be reached: {type(error).__name__}",
            "Check that it runs (`headrace status`); try again in a moment.",
        )

    def _problem(self, method: str, path: str, answer: httpx.Response) -> HeadraceError:
        text = words(answer)
        said = f"{self.what} refused {method} {path}: {unveiled(text.strip()[:2000])}"
        status = status_of(answer)
        context = {"http_status": status}
        match status:
            case 404:
                return NotFound(f"{self.name}_not_found", said, "Compare the name with the list.", context)
            case 409 if "already exists" in text:
                return Conflict(
                    "exists_already", said, "Take another name, or change what is there.", context
                )
            case 409:
                return Conflict(
                    f"{self.name}_busy", said, "It is rebalancing; try again in some seconds.", context
                )
            case 401 | 403:
                # Its refusal of us is not our refusal of the caller.
                return Unavailable(
                    f"{self.name}_denied",
                    f"{self.what} does not let Headrace in ({status})",
                    f"Set the HEADRACE_{self.name.upper()}_USER and _PASSWORD, or its certificate.",
                )
            # Connect says so with 500 where it only looks at a configuration.
            case 500 if "Failed to find any class" in text:
                return NotFound(f"{self.name}_not_found", said, "See the list of connector plugins.")
            case code if code >= 500:
                return Unavailable(f"{self.name}_failed", said, "See its log.", context)
            case _:
                return Invalid(f"{self.name}_invalid", said, "Mend what the message names.", context)


def part(name: str) -> str:
    """A name as one part of a path; a dot alone would be taken for a folder."""
    return quote(name, safe="").replace(".", "%2E") if set(name) == {"."} else quote(name, safe="")


def status_of(answer: httpx.Response) -> int:
    """Its status; 409 also where a read meets a rebalance, which Connect answers with 500."""
    busy = answer.status_code == 500 and "a rebalance is expected" in words(answer)
    return 409 if busy else answer.status_code


def words(answer: httpx.Response) -> str:
    """What an answer says is wrong: its JSON's ``message``, or all of it."""
    try:
        raw = answer.json()
    except ValueError:
        return answer.text
    return str(raw.get("message", answer.text)) if isinstance(raw, dict) else answer.text
