"""Kafka Connect's REST API: one verb, one method; rebalances are waited out, answers become our errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from headrace.capture.hiding import unveiled
from headrace.capture.rest import part, status_of, words
from headrace.entering import http_arguments, http_tls
from headrace.errors import Bug, Conflict, Denied, Invalid, NotFound, Unavailable
from headrace.settings import HttpSecurity

JSON = dict[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """State of a connector: ``RUNNING|PAUSED|STOPPED|FAILED|UNASSIGNED|RESTARTING`` and of its tasks.

    trace: the first failed task's (or the connector's) stack trace, None without a failure.
    """

    state: str
    tasks: tuple[str, ...]
    trace: str | None

    @property
    def running(self) -> bool:
        """The connector and at least one task run, and none has failed."""
        return self.state == "RUNNING" and bool(self.tasks) and all(t == "RUNNING" for t in self.tasks)

    @property
    def failed(self) -> bool:
        """The connector or one of its tasks has failed."""
        return self.state == "FAILED" or "FAILED" in self.tasks


class Connect:
    """Client of one Connect cluster. Every call raises Unavailable when it cannot be reached."""

    def __init__(self, url: str, security: HttpSecurity | None = None, patience: float = 30.0) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            timeout=httpx.Timeout(15.0, connect=3.0),
            **http_arguments(security or HttpSecurity()),
        )
        self._patience = patience

    def close(self) -> None:
        """Give back the connection pool."""
        self._http.close()

    def create(self, name: str, config: dict[str, str], state: str = "RUNNING") -> None:
        """Create the connector in ``RUNNING``, ``PAUSED`` or ``STOPPED`` state; Conflict when it exists."""
        self._call("POST", "/connectors", json={"name": name, "config": config, "initial_state": state})

    def configure(self, name: str, config: dict[str, str]) -> None:
        """Replace its configuration; its tasks are restarted with it."""
        self._call("PUT", f"/connectors/{part(name)}/config", json=config)

    def config(self, name: str) -> dict[str, str] | None:
        """Its configuration, None when there is no such connector."""
        try:
            answer: dict[str, str] = self._call("GET", f"/connectors/{part(name)}/config")
        except NotFound:
            return None
        return answer

    def status(self, name: str) -> ConnectorStatus | None:
        """Its state, None when there is no such connector (or none reported yet)."""
        try:
            answer = self._call("GET", f"/connectors/{part(name)}/status")
        except NotFound:
            return None
        tasks = answer.get("tasks", [])
        traces = [answer["connector"].get("trace"), *(t.get("trace") for t in tasks)]
        return ConnectorStatus(
            answer["connector"]["state"],
            tuple(t["state"] for t in tasks),
            next((unveiled(t) for t in traces if t), None),
        )

    def healthy(self) -> bool:
        """Whether the worker has joined its group and read what there is; before that it knows no connector."""
        try:
            answer = self._http.get("/health")
            # Workers before 3.9 have no such path, and say so in JSON; one that is still starting knows none at all.
            old = answer.status_code == httpx.codes.NOT_FOUND and "json" in answer.headers.get(
                "content-type", ""
            )
            return answer.is_success or old
        except httpx.HTTPError:
            return False

    def stop(self, name: str) -> None:
        """Stop it: tasks shut down, the configuration and offsets stay."""
        self._call("PUT", f"/connectors/{part(name)}/stop")

    def resume(self, name: str) -> None:
        """Run it (from stopped or paused)."""
        self._call("PUT", f"/connectors/{part(name)}/resume")

    def restart(self, name: str, only_failed: bool = True) -> None:
        """Restart the connector and its (failed) tasks."""
        self._call(
            "POST",
            f"/connectors/{part(name)}/restart",
            params={"includeTasks": "true", "onlyFailed": str(only_failed).lower()},
        )

    def delete(self, name: str) -> None:
        """Delete it; nothing happens when it is gone already. Its offsets stay: see ``delete_offsets``."""
        try:
            self._call("DELETE", f"/connectors/{part(name)}")
        except NotFound:
            return

    def offsets(self, name: str) -> list[JSON]:
        """Its source offsets: ``[{"partition": {..}, "offset": {..}}]``."""
        answer = self._call("GET", f"/connectors/{part(name)}/offsets")
        offsets: list[JSON] = answer.get("offsets", [])
        return offsets

    def alter_offsets(self, name: str, offsets: list[JSON]) -> None:
        """Set its source offsets; it has to be STOPPED with no task left, which is waited for."""
        self._call(
            "PATCH", f"/connectors/{part(name)}/offsets", json={"offsets": offsets}, retry_invalid=True
        )

    def delete_offsets(self, name: str) -> None:
        """Forget its offsets; it has to be STOPPED with no task left, which is waited for."""
        self._call("DELETE", f"/connectors/{part(name)}/offsets", retry_invalid=True)

    def wait(
        self, name: str, until: Callable[[ConnectorStatus | None], bool], seconds: float
    ) -> ConnectorStatus | None:
        """Poll its status until the predicate holds; Unavailable after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.status(name)
            if until(status):
                return status
            if time.monotonic() > deadline:
                state = f"{status.state}/{','.join(status.tasks)}" if status else "absent"
                raise Unavailable(
                    "connector_wait",
                    f"connector {name} is {state} after {seconds:.0f} s",
                    "See Kafka Connect's log.",
                    {"trace": status.trace if status else None},
                )
            time.sleep(0.1)

    def _call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, str] | None = None,
        retry_invalid: bool = False,
    ) -> Any:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.request(method, path, json=json, params=params)
            except httpx.HTTPError as error:
                if tls := http_tls(error, "HEADRACE_CONNECT"):
                    said, guidance = tls
                    raise Unavailable("connect_tls", f"Kafka Connect and TLS: {said}", guidance) from error
                raise Unavailable(
                    "connect_unreachable",
                    f"Kafka Connect at {self._http.base_url} cannot be reached: {error}",
                    "Check that Kafka Connect runs (`headrace status`).",
                ) from error
            if answer.is_success:
                if method != "GET":
                    _log.info("asked Kafka Connect: %s %s", method, path)
                return answer.json() if answer.content else None
            error_ = _problem(method, path, answer)
            again = isinstance(error_, Conflict | Unavailable) and "already exists" not in error_.message
            if not (again or (retry_invalid and isinstance(error_, Invalid))) or time.monotonic() > deadline:
                raise error_
            time.sleep(0.2)


def _problem(
    method: str, path: str, answer: httpx.Response
) -> NotFound | Conflict | Denied | Invalid | Unavailable | Bug:
    text = words(answer)
    what = f"Kafka Connect refused {method} {path}: {unveiled(text.strip()[:2000])}"
    context = {"status": answer.status_code}
    match status_of(answer):
        case 404:
            return NotFound("connector_not_found", what, "The connector is gone.", context)
        case 401 | 403:
            return Denied(
                "connect_denied",
                "Kafka Connect does not let Headrace in",
                "Set HEADRACE_CONNECT_USER and HEADRACE_CONNECT_PASSWORD, or its certificate.",
                context,
            )
        case 409:
            return Conflict("connect_busy", what, "Kafka Connect is rebalancing; it is tried again.", context)
        case 400:
            return Invalid("connector_invalid", what, "Check the connector's settings.", context)
        case code if code >= 500:
            return Unavailable("connect_failed", what, "See Kafka Connect's log.", context)
        case _:
            return Bug("connect_answer", what, "See Kafka Connect's log.", context)
