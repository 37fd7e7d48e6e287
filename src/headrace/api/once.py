"""Unsafe calls that can be repeated: with the same ``Idempotency-Key`` they are done once and answered alike."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from headrace.errors import Conflict, Invalid
from headrace.store import Store
from headrace.store.once import Answer

HEADER = "idempotency-key"
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEY = re.compile(r"[!-~]{1,255}")
_KEPT = ("content-type", "location", "etag", "content-disposition")


async def once(request: Request, owner: str, store: Store, handler: Any) -> Response:
    """The handler's answer, or the one given to the same call before (then with ``Idempotency-Replayed``).

    owner: the login that calls. Another one of the same account may do less, and an answer may show a secret.
    Only what succeeded is kept: an error means that nothing was done. Raises Invalid ``idempotency_key`` and
    ``idempotency_key_reused``, Conflict ``in_progress``.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method not in UNSAFE:
        response: Response = await handler(request)
        return response
    if not _KEY.fullmatch(key):
        raise Invalid(
            "idempotency_key",
            "Not an idempotency key",
            "Send 1 to 255 visible ASCII characters, e.g. a UUID.",
        )
    fingerprint = _fingerprint(request, await request.body())
    before = await run_in_threadpool(store.begin_once, owner, key, fingerprint)
    if before is not None:
        return _again(before, fingerprint)
    return await _first(request, owner, key, fingerprint, store, handler)


async def _first(
    request: Request, owner: str, key: str, fingerprint: str, store: Store, handler: Any
) -> Response:
    try:
        response: Response = await handler(request)
    except Exception:
        await run_in_threadpool(store.forget_once, owner, key)
        raise
    # Cancelled (the server stops): the deed may still be done, so the key stays taken for a while.
    body = getattr(response, "body", None)
    if response.status_code >= 400 or not isinstance(body, bytes):
        await run_in_threadpool(store.forget_once, owner, key)
        return response
    headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
    answer = Answer(fingerprint, response.status_code, headers, body.decode())
    await run_in_threadpool(store.end_once, owner, key, answer)
    return response


def _again(before: Answer, fingerprint: str) -> Response:
    if before.fingerprint != fingerprint:
        raise Invalid(
            "idempotency_key_reused",
            "This idempotency key was used for another call",
            "Take a fresh key for each call; repeat a call unchanged.",
        )
    if before.status is None:
        raise Conflict(
            "in_progress", "The same call is being worked on", "Wait a moment, then repeat it unchanged."
        )
    headers = {**(before.headers or {}), "idempotency-replayed": "true"}
    return Response(before.body, before.status, headers)


def _fingerprint(request: Request, body: bytes) -> str:
    parts = (request.method, request.url.path, request.url.query)
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + body).hexdigest()
