"""Accounts and roles, for admins."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, StrictBool

from headrace.api.auth import Door, Password, RoleName, UserAnswer
from headrace.api.etags import IfMatch, etag, require
from headrace.api.guarded import Guarded
from headrace.api.paging import Page
from headrace.api.scope import JSON, Limit, Offset, paged
from headrace.auth import rights
from headrace.auth.people import form
from headrace.spec.models import Model
from headrace.store.users import User

router = APIRouter(tags=["users"], route_class=Guarded)
FullName = Annotated[str, Field(max_length=255)]
Sort = Literal[
    "email", "-email", "full_name", "-full_name", "role", "-role", "role_name", "-role_name",
    "created_at", "-created_at", "last_login_at", "-last_login_at",
]  # fmt: skip


class NewUser(Model):
    """An account to make. Without a password nobody can log in to it by password."""

    email: Annotated[str, Field(max_length=320)]
    full_name: FullName = ""
    role: RoleName = "user"
    password: Password | None = None


class UserBody(Model):
    """What is to change of an account; what is left out stays."""

    full_name: FullName | None = None
    role: RoleName | None = None
    is_active: StrictBool | None = None
    password: Password | None = None


class RoleAnswer(BaseModel):
    """A role and what it may."""

    name: str
    permissions: list[str]


class RoleList(BaseModel):
    """All roles."""

    items: list[RoleAnswer]


class LoggedOut(BaseModel):
    """How many sessions ended."""

    sessions: int


@router.get("/roles", response_model=RoleList)
def roles() -> JSON:
    """All roles with their permissions."""
    return {"items": [{"name": n, "permissions": sorted(p)} for n, p in rights.ROLES.items()]}


@router.get("/users", response_model=Page[UserAnswer])
def listed(
    request: Request,
    q: Annotated[str | None, Query(max_length=200, description="Part of address or name")] = None,
    role: RoleName | None = None,
    active: bool | None = None,
    sort: Sort = "email",
    limit: Limit = 100,
    offset: Offset = 0,
) -> JSON:
    """Accounts."""
    found, total = request.app.state.store.users(q, role, active, sort, limit, offset)
    return paged([form(u) for u in found], total, limit, offset)


@router.post("/users", status_code=201, response_model=UserAnswer)
def create(gate: Door, body: NewUser, response: Response) -> JSON:
    """Make an account."""
    password = body.password.get_secret_value() if body.password else None
    return _tagged(response, gate.people.add(body.email, body.full_name, body.role, password))


@router.get("/users/{id}", response_model=UserAnswer)
def get(request: Request, id: str, response: Response) -> JSON:
    """One account by id or address."""
    return _tagged(response, request.app.state.store.user(id))


@router.put("/users/{id}", response_model=UserAnswer)
def put(
    gate: Door, request: Request, id: str, body: UserBody, response: Response, if_match: IfMatch = None
) -> JSON:
    """Change an account; its sessions end when role, activity or password change."""
    before: User = request.app.state.store.user(id)
    require(if_match, _tag(before))
    changed = gate.people.change(
        before.id,
        full_name=body.full_name,
        role=body.role,
        active=body.is_active,
        password=body.password.get_secret_value() if body.password else None,
        expected=None if if_match is None else before.version,
    )
    return _tagged(response, changed)


@router.delete("/users/{id}", status_code=204)
def delete(gate: Door, request: Request, id: str, if_match: IfMatch = None) -> Response:
    """Take an account away, its sessions and tokens with it."""
    before = request.app.state.store.user(id)
    require(if_match, _tag(before))
    gate.people.delete(before.id, None if if_match is None else before.version)
    return Response(status_code=204)


@router.post("/users/{id}/unlock", response_model=UserAnswer)
def unlock(gate: Door, id: str) -> JSON:
    """Let an account log in again that was locked after wrong passwords."""
    return form(gate.people.unlock(id))


@router.post("/users/{id}/logout", response_model=LoggedOut)
def logout(gate: Door, id: str) -> JSON:
    """End every session of an account."""
    return {"sessions": gate.people.log_out_everywhere(id)}


def _tag(user: User) -> str:
    return etag("user", user.id, user.version)


def _tagged(response: Response, user: User) -> JSON:
    response.headers["etag"] = _tag(user)
    return form(user)
