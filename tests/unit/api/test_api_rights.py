"""Every route, every role: what the one table says is what happens."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import people
import pytest
from api_server import Running

from headrace.api.app import ROOMS
from headrace.auth import rights

# Long-lived answers, judged by their own tests.
_STREAMS = {"GET /live/events"}
# What ends the caller's own session.
_ENDS = {"POST /auth/logout"}


def routes() -> list[str]:
    """Every route below /api/v1, as the table names them."""
    found = []
    for room in ROOMS:
        for route in room.router.routes:
            methods = getattr(route, "methods", None) or {"WEBSOCKET"}
            found += [f"{m} {getattr(route, 'path_format', route.path)}" for m in sorted(methods - {"HEAD"})]
    return found


def call(client: httpx.Client, route: str) -> httpx.Response:
    """The route with names that nothing has and an empty body."""
    method, path = route.split(" ")
    where = re.sub(r"\{[^}]*\}", "nothing-of-that-name", path).lstrip("/")
    body = {"json": {}} if method in ("POST", "PUT", "PATCH") else {}
    return client.request(method, where, follow_redirects=False, **body)


@pytest.fixture
def callers(
    running: Running, api: httpx.Client
) -> Iterator[dict[str, tuple[httpx.Client, frozenset[str] | None]]]:
    """Who calls, and what they may; None: nobody proven."""
    clients: dict[str, tuple[httpx.Client, frozenset[str] | None]] = {
        "nobody": (people.client(running), None),
        "local": (people.client(running, running.token), rights.ROLES["admin"]),
    }
    for role, may in rights.ROLES.items():
        people.add(api, role, role)
        clients[role] = (people.client(running, people.tokens(running, role)["access_token"]), may)
    scoped = clients["admin"][0].post("tokens", json={"name": "t", "scopes": ["topics:read"]}).json()["token"]
    clients["scoped"] = (people.client(running, scoped), frozenset({"topics:read"}))
    people.add(api, "gone", "admin")
    clients["revoked"] = (people.client(running, people.tokens(running, "gone")["access_token"]), None)
    api.post("users/gone@example.org/logout")
    people.add(api, "closed", "admin")
    clients["closed"] = (people.client(running, people.tokens(running, "closed")["access_token"]), None)
    api.put("users/closed@example.org", json={"is_active": False})
    yield clients
    for client, _ in clients.values():
        client.close()


def test_the_table_and_the_routes_are_the_same() -> None:
    assert sorted(routes()) == sorted(rights.ROUTES)
    assert set(rights.ROUTES.values()) <= {rights.PUBLIC, rights.ALIVE, rights.OWN, *rights.PERMISSIONS}


def test_every_route_lets_in_whom_the_table_lets_in(
    callers: dict[str, tuple[httpx.Client, frozenset[str] | None]],
) -> None:
    wrong = []
    for route in routes():
        if route.startswith("WEBSOCKET") or route in _STREAMS | _ENDS:
            continue
        needed = rights.ROUTES[route]
        for who, (client, may) in callers.items():
            answer = call(client, route)
            refused = answer.status_code == 401 or (
                answer.status_code == 403 and answer.json()["code"] == "forbidden"
            )
            open_door = needed in (rights.PUBLIC, rights.ALIVE) or (
                may is not None and (needed == rights.OWN or needed in may)
            )
            expected = None if open_door else 401 if may is None else 403
            if needed in (rights.PUBLIC, rights.ALIVE):
                # A public door may refuse the login itself, not the caller.
                continue
            if (expected is None and refused) or (expected is not None and answer.status_code != expected):
                wrong.append((route, who, expected, answer.status_code, answer.text[:80]))
            if answer.status_code >= 500 and answer.status_code != 503:
                wrong.append((route, who, "no 5xx", answer.status_code, answer.text[:80]))
    assert not wrong


def test_the_roles_are_the_promised_ones() -> None:
    """admin everything; operator all but accounts; viewer reads all but data and accounts; user sees monitoring."""
    guarded = {r: n for r, n in rights.ROUTES.items() if n not in (rights.PUBLIC, rights.ALIVE, rights.OWN)}
    may = {role: {r for r, n in guarded.items() if n in has} for role, has in rights.ROLES.items()}
    accounts = {r for r in guarded if " /users" in r}
    shows_data = {
        r for r in guarded if r.endswith(("/preview", "/messages")) or r == "GET /pipelines/{id}/dead-letters"
    }
    reads = {r for r in guarded if r.split()[0] in ("GET", "WEBSOCKET")} | {"POST /pipelines/{id}/plan"}
    watches = {r for r in reads if re.match(r".* /(monitoring|health|live|status|metrics)", r)}
    watches |= {
        f"GET /pipelines/{{id}}/{what}" for what in ("status", "metrics", "lag", "throughput", "tables")
    }
    assert may["admin"] == set(guarded)
    assert may["operator"] == set(guarded) - accounts
    assert may["viewer"] == reads - accounts - shows_data
    assert may["user"] == watches


@pytest.mark.parametrize(
    ("scopes", "granted"),
    [
        (["*"], rights.ROLES["viewer"]),
        (["*:read"], rights.ROLES["viewer"]),
        (["pipelines:*"], {"pipelines:read"}),
        (["users:write"], set()),
        ([], set()),
    ],
)
def test_scopes_only_narrow(scopes: list[str], granted: set[str]) -> None:
    assert rights.granted("viewer", scopes) == granted


def test_an_unknown_role_may_nothing() -> None:
    assert rights.granted("root") == frozenset()
