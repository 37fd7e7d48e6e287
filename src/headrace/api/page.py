"""The plain live page at ``/``: one HTML file that asks the API itself, with a token the user gives it."""

from __future__ import annotations

import secrets
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)


@router.get("/")
def index() -> HTMLResponse:
    """The page. It holds no data; scripts run only with this answer's nonce."""
    nonce = secrets.token_urlsafe(16)
    html = files("headrace.api").joinpath("page.html").read_text(encoding="utf-8").replace("{nonce}", nonce)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html, headers={"content-security-policy": policy})
