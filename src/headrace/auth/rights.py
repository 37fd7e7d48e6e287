"""The one table of rights: what each route needs, and what each role may.

``public``: anybody; ``alive``: anybody, however often. ``own``: whoever is proven, for what is theirs. Everything else is an area and a deed. A route that is
not in the table cannot be made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace.errors import Bug, Invalid

PUBLIC = "public"
ALIVE = "alive"
OWN = "own"
# Of strangers, too.
OPEN = frozenset({PUBLIC, ALIVE})

_SEES = frozenset({"monitoring:read"})
_READS = _SEES | {
    f"{area}:read"
    for area in ("connections", "schemas", "pipelines", "connectors", "topics", "logs", "alerts", "audit")
}
_WORKS = _READS | {
    "data:read",
    "connections:write",
    "connections:test",
    "pipelines:write",
    "pipelines:run",
    "connectors:write",
    "alerts:write",
}
ROLES: Mapping[str, frozenset[str]] = {
    "admin": _WORKS | {"users:read", "users:write"},
    "operator": _WORKS,
    "viewer": _READS,
    "user": _SEES,
}
PERMISSIONS = ROLES["admin"]

ROUTES: Mapping[str, str] = {
    # health
    "GET /health/live": ALIVE,
    "GET /health/ready": PUBLIC,
    "GET /health": "monitoring:read",
    "GET /health/kafka": "monitoring:read",
    "GET /health/connect": "monitoring:read",
    "GET /status": "monitoring:read",
    "GET /metrics": "monitoring:read",
    # auth
    "GET /auth/methods": PUBLIC,
    "POST /auth/login": PUBLIC,
    "POST /auth/signup": PUBLIC,
    "POST /auth/refresh": PUBLIC,
    "POST /auth/logout": PUBLIC,
    "GET /auth/oidc/login": PUBLIC,
    "GET /auth/oidc/callback": PUBLIC,
    "GET /auth/me": OWN,
    "PUT /auth/me": OWN,
    "POST /auth/password": OWN,
    "GET /auth/sessions": OWN,
    "DELETE /auth/sessions/{id}": OWN,
    "GET /tokens": OWN,
    "POST /tokens": OWN,
    "DELETE /tokens/{id}": OWN,
    "GET /roles": OWN,
    "GET /users": "users:read",
    "POST /users": "users:write",
    "GET /users/{id}": "users:read",
    "PUT /users/{id}": "users:write",
    "DELETE /users/{id}": "users:write",
    "POST /users/{id}/unlock": "users:write",
    "POST /users/{id}/logout": "users:write",
    # connections and what is behind them
    "GET /connections": "connections:read",
    "POST /connections": "connections:write",
    "GET /connections/schema": "connections:read",
    "GET /connections/{id}": "connections:read",
    "PUT /connections/{id}": "connections:write",
    "DELETE /connections/{id}": "connections:write",
    "POST /connections/{id}/test": "connections:test",
    "GET /connections/{id}/tests": "connections:read",
    "GET /connections/{id}/tables": "schemas:read",
    "POST /discovery/discover": "connections:test",
    "GET /discovery/schemas": "schemas:read",
    "GET /discovery/tables": "schemas:read",
    "GET /schemas/{connection_id}/databases": "schemas:read",
    "GET /schemas/{connection_id}/tables": "schemas:read",
    "GET /schemas/{connection_id}/columns": "schemas:read",
    "GET /schemas/{connection_id}/preview": "data:read",
    "POST /validate/source": "connections:test",
    "POST /validate/destination": "connections:test",
    "POST /validate/debezium": "connections:test",
    # whole specs
    "POST /check": "connections:test",
    "POST /plan": "connections:test",
    "POST /apply": "pipelines:write",
    "GET /requests/{id}": "pipelines:read",
    # pipelines
    "GET /pipelines": "pipelines:read",
    "POST /pipelines": "pipelines:write",
    "GET /pipelines/{id}": "pipelines:read",
    "PUT /pipelines/{id}": "pipelines:write",
    "DELETE /pipelines/{id}": "pipelines:write",
    "POST /pipelines/{id}/plan": "pipelines:read",
    "POST /pipelines/{id}/start": "pipelines:run",
    "POST /pipelines/{id}/stop": "pipelines:run",
    "POST /pipelines/{id}/pause": "pipelines:run",
    "POST /pipelines/{id}/resume": "pipelines:run",
    "GET /pipelines/{id}/status": "monitoring:read",
    "GET /pipelines/{id}/metrics": "monitoring:read",
    "GET /pipelines/{id}/lag": "monitoring:read",
    "GET /pipelines/{id}/throughput": "monitoring:read",
    "GET /pipelines/{id}/connectors": "connectors:read",
    "GET /pipelines/{id}/logs": "logs:read",
    "GET /pipelines/{id}/runs": "pipelines:read",
    "GET /pipelines/{id}/tables": "monitoring:read",
    "GET /pipelines/{id}/certificate": "pipelines:read",
    "POST /pipelines/{id}/verify": "pipelines:run",
    "POST /pipelines/{id}/tables/{table}/resync": "pipelines:run",
    "POST /pipelines/{id}/tables/{table}/verify": "pipelines:run",
    "GET /pipelines/{id}/dead-letters": "data:read",
    "POST /pipelines/{id}/dead-letters": "pipelines:run",
    # Kafka Connect, Kafka, the registry
    "GET /connectors": "connectors:read",
    "POST /connectors": "connectors:write",
    "GET /connectors/{name}": "connectors:read",
    "PUT /connectors/{name}/config": "connectors:write",
    "DELETE /connectors/{name}": "connectors:write",
    "PUT /connectors/{name}/pause": "connectors:write",
    "PUT /connectors/{name}/resume": "connectors:write",
    "PUT /connectors/{name}/stop": "connectors:write",
    "POST /connectors/{name}/restart": "connectors:write",
    "GET /connectors/{name}/status": "connectors:read",
    "GET /connectors/{name}/tasks": "connectors:read",
    "POST /connectors/{name}/tasks/{task}/restart": "connectors:write",
    "GET /connectors/{name}/offsets": "connectors:read",
    "PATCH /connectors/{name}/offsets": "connectors:write",
    "DELETE /connectors/{name}/offsets": "connectors:write",
    "GET /connector-plugins": "connectors:read",
    "PUT /connector-plugins/{name}/config/validate": "connectors:write",
    "GET /topics": "topics:read",
    "GET /topics/{name}": "topics:read",
    "GET /topics/{name}/messages": "data:read",
    "GET /schema-registry/subjects": "topics:read",
    "GET /schema-registry/subjects/{subject}/versions": "topics:read",
    "GET /schema-registry/subjects/{subject}/versions/{version}": "topics:read",
    # watching
    "GET /monitoring/pipelines": "monitoring:read",
    "GET /monitoring/metrics": "monitoring:read",
    "GET /monitoring/lag": "monitoring:read",
    "GET /monitoring/consumer-groups": "monitoring:read",
    "WEBSOCKET /live": "monitoring:read",
    "GET /live/events": "monitoring:read",
    "GET /alerts/rules": "alerts:read",
    "POST /alerts/rules": "alerts:write",
    "GET /alerts/rules/{id}": "alerts:read",
    "PUT /alerts/rules/{id}": "alerts:write",
    "DELETE /alerts/rules/{id}": "alerts:write",
    "GET /alerts/channels": "alerts:read",
    "POST /alerts/channels": "alerts:write",
    "GET /alerts/channels/{id}": "alerts:read",
    "PUT /alerts/channels/{id}": "alerts:write",
    "DELETE /alerts/channels/{id}": "alerts:write",
    "POST /alerts/channels/{id}/test": "alerts:write",
    "GET /alerts/history": "alerts:read",
    "POST /alerts/history/{id}/acknowledge": "alerts:write",
    "POST /alerts/history/{id}/resolve": "alerts:write",
    "GET /audit": "audit:read",
    "GET /audit/export": "audit:read",
}


def needed(method: str, path: str) -> str:
    """The permission that a route needs. path: its template below ``/api/v1``. Bug ``no_right`` for one not listed."""
    try:
        return ROUTES[f"{method} {path}"]
    except KeyError:
        raise Bug("no_right", f"auth/rights.py says nothing of {method} {path}") from None


def granted(role: str, scopes: Iterable[str] | None = None) -> frozenset[str]:
    """The permissions of a role, narrowed to scopes where there are some; of an unknown role none."""
    own = ROLES.get(role, frozenset())
    return own if scopes is None else own & frozenset().union(*map(_covered, scopes))


def known_scopes(scopes: Iterable[str]) -> list[str]:
    """The scopes, in order, once each; Invalid ``unknown_scope`` naming those that are none."""
    wanted = list(dict.fromkeys(scopes))
    if unknown := [scope for scope in wanted if not _covered(scope)]:
        raise Invalid(
            "unknown_scope",
            f"There is no scope {', '.join(unknown)}",
            f"A scope is *, *:read, an area with :*, or one of {', '.join(sorted(PERMISSIONS))}.",
            {"scopes": unknown},
        )
    return wanted


def _covered(scope: str) -> frozenset[str]:
    area, _, deed = scope.partition(":")
    return frozenset(
        p
        for p in PERMISSIONS
        if scope in ("*", p) or (deed and (area, deed) in ((p.split(":")[0], "*"), ("*", p.split(":")[1])))
    )
