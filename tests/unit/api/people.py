"""People who call the API in tests."""

from __future__ import annotations

from typing import Any

import httpx
from api_server import Running

PASSWORD = "long enough a password"


def add(api: httpx.Client, name: str, role: str = "user") -> dict[str, Any]:
    """A new account ``<name>@example.org``."""
    body = {"email": f"{name}@example.org", "role": role, "password": PASSWORD}
    made = api.post("users", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def tokens(running: Running, name: str, password: str = PASSWORD) -> dict[str, Any]:
    """What a login gives."""
    body = {"email": f"{name}@example.org", "password": password}
    answer = httpx.post(f"{running.url}/api/v1/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def client(running: Running, token: str = "", **more: Any) -> httpx.Client:
    """A client with a bearer token, or none."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"{running.url}/api/v1", headers=headers, timeout=30, **more)
