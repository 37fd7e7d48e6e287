"""Pages: the plain live page at ``/``, which asks the API itself, and the API's documentation, without any network."""

from __future__ import annotations

import secrets
from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

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


_ASSETS = "/api/docs-assets"
_DOCS = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Headrace API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="{assets}/swagger-ui.css">
<link rel="icon" href="data:,"></head><body><div id="page"></div><script src="{assets}/swagger-ui-bundle.js"></script>
<script nonce="{nonce}">SwaggerUIBundle({{url: "/api/v1/openapi.json", dom_id: "#page", deepLinking: true,
validatorUrl: null, persistAuthorization: false}})</script></body></html>
"""
_REDOC = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Headrace API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"></head>
<body style="margin:0"><div id="page"></div><script src="{assets}/redoc.standalone.js"></script>
<script nonce="{nonce}">Redoc.init("/api/v1/openapi.json", {{disableSearch: true}}, document.getElementById("page"))</script>
</body></html>
"""


def install(app: FastAPI) -> None:
    """Add the pages and what they load."""
    # Swagger UI and ReDoc lie in this package, so that nothing is fetched from elsewhere.
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))
    app.include_router(router)


@router.get("/api/docs")
def docs() -> HTMLResponse:
    """The API in Swagger UI."""
    return _documentation(_DOCS)


@router.get("/api/redoc")
def redoc() -> HTMLResponse:
    """The API in ReDoc."""
    return _documentation(_REDOC)


def _documentation(html: str) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    # Both set styles of their own while they run; ReDoc reads its document in a worker.
    policy = (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data:; font-src 'self' data:; worker-src blob:; child-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html.format(assets=_ASSETS, nonce=nonce), headers={"content-security-policy": policy})
