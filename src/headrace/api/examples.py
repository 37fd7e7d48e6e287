"""Examples of the bodies that calls take, for the OpenAPI document; a test sends each of them."""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]
# In such brackets nobody takes it for a real one.
_OWN, _THEIRS, _MASK = "<a long password>", "<password of that user>", "********"
_GIVEN = "<the one that the login gave>"

_SHOP: JSON = {
    "engine": "postgres",
    "host": "db1.internal",
    "database": "shop",
    "user": "headrace",
    "password": _THEIRS,
    "tls": "verify-full",
}
_WAREHOUSE: JSON = {**_SHOP, "host": "db2.internal", "database": "warehouse"}
_PIPELINE: JSON = {
    "source": "shop",
    "target": "warehouse",
    "mode": "full_load_and_cdc",
    "tables": ["public.*", {"name": "public.customers", "mask": {"email": "sha256"}}],
    "exclude": ["public.sessions"],
}
_SPEC: JSON = {
    "connections": {"shop": _SHOP, "warehouse": _WAREHOUSE},
    "pipelines": {"shop-to-warehouse": _PIPELINE},
}
_CONNECTOR: JSON = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.hostname": "db1.internal",
    "database.user": "debezium",
    "database.password": _THEIRS,
    "database.dbname": "shop",
    "topic.prefix": "shop",
}
_RULE: JSON = {
    "name": "far behind",
    "metric": "lag_seconds",
    "condition": "gt",
    "threshold": 60,
    "duration_seconds": 300,
    "severity": "critical",
}
_CHANNEL: JSON = {
    "name": "on call",
    "kind": "webhook",
    "url": "https://hooks.example.com/headrace",
    "signing_key": "<shared with the other side>",
}
_OFFSETS: JSON = {"offsets": [{"partition": {"server": "shop"}, "offset": {"lsn": 24023128}}]}

BODIES: dict[str, Any] = {
    "POST /check": _SPEC,
    "POST /plan": _SPEC,
    "POST /apply": {**_SPEC, "start": False},
    "POST /auth/login": {"email": "admin@localhost", "password": _OWN},
    "POST /auth/signup": {
        "email": "ann@example.org",
        "password": _OWN,
        "full_name": "Ann",
    },
    "POST /auth/refresh": {"refresh_token": _GIVEN},
    "PUT /auth/me": {"full_name": "Ann Example"},
    "POST /auth/password": {"current": _OWN, "new": "<another long password>"},
    "POST /tokens": {"name": "ci", "scopes": ["pipelines:*", "monitoring:read"], "expires_in_days": 30},
    "POST /users": {"email": "olga@example.org", "role": "operator", "password": _OWN},
    "PUT /users/{id}": {"role": "viewer", "is_active": True},
    "POST /connections": {"name": "shop", **_SHOP, "connection_type": "source"},
    "PUT /connections/{id}": {**_SHOP, "password": _MASK},
    "POST /discovery/discover": {"connection": "shop"},
    "POST /validate/source": {"connection": "shop", "tables": ["public.*"]},
    "POST /validate/destination": {"connection": "warehouse"},
    "POST /validate/debezium": {"config": _CONNECTOR},
    "POST /pipelines": {"name": "shop-to-warehouse", **_PIPELINE, "start": False},
    "PUT /pipelines/{id}": _PIPELINE,
    "POST /pipelines/{id}/verify": {"table": "public.orders", "repair": True},
    "POST /pipelines/{id}/tables/{table}/verify": {"repair": True},
    "POST /pipelines/{id}/dead-letters": {
        "action": "discard",
        "ids": ["5f0c6f0e-7a4b-4a39-9b3f-2f5d9d0c1a11"],
    },
    "POST /connectors": {"name": "shop-source", "config": _CONNECTOR, "initial_state": "STOPPED"},
    "PUT /connectors/{name}/config": _CONNECTOR,
    "PATCH /connectors/{name}/offsets": _OFFSETS,
    "PUT /connector-plugins/{name}/config/validate": _CONNECTOR,
    "POST /alerts/rules": _RULE,
    "PUT /alerts/rules/{id}": {**_RULE, "threshold": 120},
    "POST /alerts/channels": _CHANNEL,
    "PUT /alerts/channels/{id}": {**_CHANNEL, "url": _MASK, "signing_key": _MASK},
}
