"""Logging in and out, one's own account and API tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field, SecretStr, StrictBool

from headrace.actor import acting
from headrace.api.guarded import Guarded, actor, address_of, knock
from headrace.api.paging import Page
from headrace.api.scope import JSON, Limit, Offset, page
from headrace.auth.gate import ACCESS_COOKIE, CSRF_COOKIE, REFRESH_COOKIE, Gate
from headrace.auth.people import form, require_login, session_form, token_form
from headrace.auth.principal import Principal
from headrace.auth.sessions import Entered
from headrace.auth.signin import SignIn
from headrace.errors import Denied, Invalid
from headrace.spec.models import Model
from headrace.store.database import now

router = APIRouter(tags=["auth"], route_class=Guarded)
_SIGNIN_COOKIE = "headrace_signin"
RoleName = Literal["admin", "operator", "viewer", "user"]
Password = Annotated[SecretStr, Field(max_length=1024)]


class LoginBody(Model):
    """An address and its password. cookies: answer with cookies for a browser instead of tokens."""

    email: Annotated[str, Field(max_length=320, examples=["admin@localhost"])]
    password: Password
    cookies: StrictBool = False


class SignUpBody(Model):
    """A new account."""

    email: Annotated[str, Field(max_length=320)]
    password: Password
    full_name: Annotated[str, Field(max_length=255)] = ""


class RefreshBody(Model):
    """A refresh token, where it does not come by cookie."""

    refresh_token: Annotated[SecretStr, Field(max_length=500)] | None = None


class MeBody(Model):
    """What one may change of oneself."""

    full_name: Annotated[str, Field(max_length=255)]


class PasswordBody(Model):
    """The current password and a new one (12 characters at least)."""

    current: Password
    new: Password


class TokenBody(Model):
    """An API token to make. scopes: ``*``, ``*:read``, ``pipelines:*``, ``pipelines:run``, ..."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    scopes: tuple[Annotated[str, Field(max_length=64)], ...] = Field(
        default=("*:read",), min_length=1, max_length=50
    )
    expires_at: datetime | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class UserAnswer(BaseModel):
    """An account. is_superuser: the first of all. external: of another issuer. locked: after too many wrong passwords."""

    id: str
    email: str
    full_name: str
    role: RoleName
    is_active: bool
    is_superuser: bool
    external: bool
    locked: bool
    last_login_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class TokensAnswer(BaseModel):
    """The tokens of a session; null where they went into cookies. csrf_token: repeat it in X-CSRF-Token."""

    access_token: str | None
    refresh_token: str | None
    token_type: Literal["bearer"]
    expires_in: int
    csrf_token: str | None
    user: UserAnswer


class MeAnswer(BaseModel):
    """Who one is and what one may. user: null for the installation's own token."""

    id: str
    name: str
    role: str
    kind: Literal["local", "session", "api_token", "external"]
    permissions: list[str]
    csrf_token: str | None
    user: UserAnswer | None


class MethodsAnswer(BaseModel):
    """How one can log in here."""

    password: bool
    signup: bool
    oidc: bool


class SessionAnswer(BaseModel):
    """A session of one's own."""

    id: str
    current: bool
    user_agent: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class TokenAnswer(BaseModel):
    """An API token without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewTokenAnswer(TokenAnswer):
    """A fresh API token; its value is shown this once."""

    token: str


async def _gate(request: Request) -> Gate:
    return cast(Gate, request.app.state.gate)


async def _principal(request: Request) -> Principal:
    return cast(Principal, request.state.principal)


def _sign_in(request: Request) -> SignIn:
    return cast(SignIn, request.app.state.sign_in)


Door = Annotated[Gate, Depends(_gate)]
Who = Annotated[Principal, Depends(_principal)]


@router.get("/auth/methods", response_model=MethodsAnswer)
def methods(request: Request) -> JSON:
    """How one can log in here."""
    settings = request.app.state.settings
    return {"password": True, "signup": settings.access.signup, "oidc": _sign_in(request).possible}  # nosec B105  # whether one signs in by password


@router.post("/auth/login", response_model=TokensAnswer)
def login(gate: Door, request: Request, response: Response, body: LoginBody) -> JSON:
    """Log in with address and password."""
    entered = gate.sessions.log_in(
        body.email, body.password.get_secret_value(), address_of(request), _agent(request)
    )
    return _welcome(request, response, entered, body.cookies)


@router.post("/auth/signup", status_code=201, response_model=UserAnswer)
def signup(gate: Door, request: Request, body: SignUpBody) -> JSON:
    """Make oneself an account of the role `user`, where that is allowed."""
    gate.attempts.hit("logins", address_of(request), request.app.state.settings.web.rate_login)
    return form(gate.people.sign_up(body.email, body.full_name, body.password.get_secret_value()))


@router.post("/auth/refresh", response_model=TokensAnswer)
def refresh(gate: Door, request: Request, response: Response, body: RefreshBody | None = None) -> JSON:
    """Fresh tokens for a refresh token, which is used up by that."""
    given = body.refresh_token.get_secret_value() if body and body.refresh_token else None
    cookie = given is None
    given = given or request.cookies.get(REFRESH_COOKIE, "")
    if cookie and not gate.may_come_from(request.headers.get("origin", ""), request.headers.get("host", "")):
        raise Denied("csrf", "Refused: the call comes from another site", "Call it from this server's pages.")
    return _welcome(request, response, gate.sessions.renew(given), cookie)


@router.post("/auth/logout", status_code=204)
def logout(gate: Door, request: Request) -> Response:
    """End the session; cookies are taken back. No error when there is none."""
    response = Response(status_code=204)
    principal = gate.prove(knock(request)) if request.headers.get("authorization") else None
    if principal is None and request.cookies.get(ACCESS_COOKIE) and gate.prove(knock(request)):
        # By cookie: only from our own pages.
        principal = gate.enter(knock(request), "own")
    if principal is None and (refresh := request.cookies.get(REFRESH_COOKIE)):
        gate.sessions.forget(refresh)
    if principal is not None and principal.session is not None:
        with acting(actor(request, principal)):
            gate.sessions.log_out(principal.session, request.app.state.store.user(principal.id))
    for name in (ACCESS_COOKIE, REFRESH_COOKIE, CSRF_COOKIE):
        response.delete_cookie(name, path="/")
    return response


@router.get("/auth/me", response_model=MeAnswer)
def me(gate: Door, who: Who, request: Request) -> JSON:
    """Who one is and what one may."""
    user = None if who.kind == "local" else form(request.app.state.store.user(who.id))
    csrf = gate.signer.csrf(who.session) if who.session else None
    said = {"id": who.id, "name": who.name, "role": who.role, "kind": who.kind, "csrf_token": csrf}
    return {**said, "permissions": sorted(who.permissions), "user": user}


@router.put("/auth/me", response_model=UserAnswer)
def put_me(gate: Door, who: Who, body: MeBody) -> JSON:
    """Change one's own name."""
    if who.kind in ("local", "api_token"):
        raise Denied("needs_login", "That needs a login of one's own", "Log in first.")
    return form(gate.people.change(who.id, full_name=body.full_name))


@router.post("/auth/password", status_code=204)
def password(gate: Door, who: Who, body: PasswordBody) -> Response:
    """Change one's own password; all sessions end."""
    gate.attempts.hit("passwords of this account", who.id, 10)
    gate.people.change_password(who, body.current.get_secret_value(), body.new.get_secret_value())
    return Response(status_code=204)


@router.get("/auth/sessions", response_model=Page[SessionAnswer])
def sessions(who: Who, request: Request, limit: Limit = 100, offset: Offset = 0) -> JSON:
    """One's own sessions, the newest first."""
    require_login(who)
    found = request.app.state.store.sessions(who.id)
    return page([session_form(s, who.session) for s in found], limit, offset)


@router.delete("/auth/sessions/{id}", status_code=204)
def end_session(gate: Door, who: Who, request: Request, id: str) -> Response:
    """End one of one's own sessions; no error when it is over already."""
    require_login(who)
    store = request.app.state.store
    if any(s.id == id for s in store.sessions(who.id)):
        gate.sessions.log_out(id, store.user(who.id))
    return Response(status_code=204)


@router.get("/auth/oidc/login", status_code=302, response_class=RedirectResponse)
def oidc_login(
    request: Request, after: Annotated[str, Query(alias="next", max_length=500)] = "/"
) -> RedirectResponse:
    """Send the browser to the issuer. next: the path of ours to end at."""
    begun = _sign_in(request).begin(f"{_base(request)}/api/v1/auth/oidc/callback", after)
    response = RedirectResponse(begun.url, 302)
    _cookie(request, response, _SIGNIN_COOKIE, begun.keep, 600, hidden=True)
    return response


@router.get("/auth/oidc/callback", status_code=302, response_class=RedirectResponse)
def oidc_callback(
    gate: Door,
    request: Request,
    state: Annotated[str, Query(max_length=500)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    error: Annotated[str, Query(max_length=500)] = "",
) -> RedirectResponse:
    """The browser comes back from the issuer: a session begins."""
    if error or not code:
        raise Denied("signin_failed", f"The issuer did not let in: {error or 'no code'}", "Begin again.")
    user, after = _sign_in(request).end(request.cookies.get(_SIGNIN_COOKIE, ""), state, code)
    response = RedirectResponse(after, 302)
    response.delete_cookie(_SIGNIN_COOKIE, path="/")
    entered = gate.sessions.open(user, address_of(request), _agent(request), "signin")
    _set_cookies(request, response, entered)
    return response


@router.get("/tokens", response_model=Page[TokenAnswer])
def tokens(
    gate: Door,
    who: Who,
    user: Annotated[str | None, Query(description="Id or address; for admins")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """One's own API tokens, or another's for an admin, the newest first. A token of narrower scope sees but itself."""
    return page([token_form(t) for t in gate.people.tokens(who, user)], limit, offset)


@router.post("/tokens", status_code=201, response_model=NewTokenAnswer)
def add_token(gate: Door, who: Who, body: TokenBody) -> JSON:
    """Make an API token; its value is shown this once."""
    if body.expires_at is not None and body.expires_in_days is not None:
        raise Invalid("bad_expiry", "Both expires_at and expires_in_days are given", "Give one of them.")
    ends = body.expires_at
    if ends is not None and ends.tzinfo is None:
        raise Invalid("bad_expiry", "expires_at has no time zone", "Such as 2027-01-31T12:00:00Z.")
    if body.expires_in_days is not None:
        ends = now() + timedelta(days=body.expires_in_days)
    made, value = gate.people.add_token(who, body.name, list(body.scopes), ends)
    return {**token_form(made), "token": value}


@router.delete("/tokens/{id}", status_code=204)
def revoke_token(gate: Door, who: Who, id: str) -> Response:
    """End an API token: one's own, anybody's for an admin. A token of narrower scope ends but itself."""
    gate.people.revoke_token(who, id)
    return Response(status_code=204)


def _welcome(request: Request, response: Response, entered: Entered, cookies: bool) -> JSON:
    if cookies:
        _set_cookies(request, response, entered)
    return {
        "access_token": None if cookies else entered.access,
        "refresh_token": None if cookies else entered.refresh,
        "token_type": "bearer",  # nosec B105  # the word of RFC 6750
        "expires_in": entered.seconds,
        "csrf_token": entered.csrf if cookies else None,
        "user": form(entered.user),
    }


def _set_cookies(request: Request, response: Response, entered: Entered) -> None:
    life = request.app.state.settings.access.refresh_seconds
    _cookie(request, response, ACCESS_COOKIE, entered.access, entered.seconds, hidden=True)
    _cookie(request, response, REFRESH_COOKIE, entered.refresh, life, hidden=True)
    _cookie(request, response, CSRF_COOKIE, entered.csrf, life, hidden=False)


def _cookie(
    request: Request, response: Response, name: str, value: str, seconds: int, *, hidden: bool
) -> None:
    secure = _base(request).startswith("https:")
    more: dict[str, Any] = {"httponly": hidden, "secure": secure, "samesite": "lax", "path": "/"}
    response.set_cookie(name, value, max_age=seconds, **more)


def _base(request: Request) -> str:
    settings = request.app.state.settings
    return settings.web.public_url.rstrip("/") or str(request.base_url).rstrip("/")


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")
