"""Kafka Connect's REST API for faces: answers soon, keeps Connect's own status, rests while Connect is away."""

from __future__ import annotations

import random
import time
from typing import Any
from urllib.parse import quote

import httpx
import pybreaker

from headrace.entering import http_arguments
from headrace.errors import Conflict, HeadraceError, Invalid, NotFound, Unavailable
from headrace.settings import HttpSecurity

_TIMEOUT = httpx.Timeout(10.0, connect=2.0)
_PATIENCE = 3.0
_FAILURES = 5
_REST_SECONDS = 5.0
# What may be asked again without doing it twice.
_REPEATABLE = frozenset({"GET", "PUT"})


class Rest:
    """One HTTP service with Kafka Connect's manners (a schema registry has them too). Threads may share it.

    name, what: of the service in codes and in words. Every call raises the error of the service's answer, with its
    own status as ``http_status`` in the context, or Unavailable ``<name>_unreachable`` and ``<name>_resting``.
    """

    def __init__(
        self,
        url: str,
        security: HttpSecurity,
        name: str = "connect",
        what: str = "Kafka Connect",
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            timeout=timeout,
            limits=httpx.Limits(max_connections=20, keepalive_expiry=30),
            **http_arguments(security),
        )
        self.name, self.what = name, what
        self._fuse = pybreaker.CircuitBreaker(
            _FAILURES, _REST_SECONDS, exclude=[lambda e: not isinstance(e, httpx.TransportError)]
        )

    def close(self) -> None:
        """Give back the connection pool."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET; a rebalance and a lost connection are tried again for some seconds."""
        return self.call("GET", path, params=query)

    def call(self, method: str, path: str, *, body: Any = None, params: Any = None) -> Any:
        """One call; what may be repeated is, with jitter, while the service is busy or its connection breaks."""
        until, pause = time.monotonic() + _PATIENCE, 0.1
        while True:
            try:
                return self._answer(method, path, self._once(method, path, body, params))
            except HeadraceError as error:
                passing = error.code in (f"{self.name}_busy", f"{self.name}_unreachable")
                if not passing or method not in _REPEATABLE or time.monotonic() + pause > until:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))  # nosec B311: jitter, no secret
            pause *= 2

    def _once(self, method: str, path: str, body: Any, params: Any) -> httpx.Response:
        try:
            answer: httpx.Response = self._fuse.call(
                self._http.request, method, path, json=body, params=params
            )
        except pybreaker.CircuitBreakerError as error:
            if not isinstance(error.__cause__, httpx.TransportError):
                raise self._resting() from None
            raise self._away(error.__cause__) from None
        except httpx.TransportError as error:
            raise self._away(error) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Invalid(
                "bad_request", f"{self.what} cannot be asked that: {type(error).__name__}"
            ) from None
        return answer

    def _answer(self, method: str, path: str, answer: httpx.Response) -> Any:
        if not answer.is_success:
            raise self._problem(method, path, answer)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise Unavailable(
                f"{self.name}_answer", f"{self.what} did not answer in JSON", "Is its URL right?"
            ) from None

    def _away(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"{self.name}_unreachable",
            f"{self.what} cannot be reached: {type(error).__name__}",
            "Check that it runs (`headrace status`); try again in a moment.",
        )

    def _resting(self) -> Unavailable:
        return Unavailable(
            f"{self.name}_resting",
            f"{self.what} did not answer several times; it is asked again in a few seconds",
            "Check that it runs (`headrace status`).",
            {"retry_after": int(_REST_SECONDS)},
        )

    def _problem(self, method: str, path: str, answer: httpx.Response) -> HeadraceError:
        try:
            raw = answer.json()
            text = str(raw.get("message", answer.text)) if isinstance(raw, dict) else answer.text
        except ValueError:
            text = answer.text
        said = f"{self.what} refused {method} {path}: {text.strip()[:2000]}"
        status = answer.status_code
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
            case code if code >= 500:
                return Unavailable(f"{self.name}_failed", said, "See its log.", context)
            case _:
                return Invalid(f"{self.name}_invalid", said, "Mend what the message names.", context)


def part(name: str) -> str:
    """A name as one part of a path; a dot alone would be taken for a folder."""
    return quote(name, safe="").replace(".", "%2E") if set(name) == {"."} else quote(name, safe="")
