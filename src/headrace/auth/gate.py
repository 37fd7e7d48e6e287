"""The gate that every request passes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.auth import rights
from headrace.auth.principal import Principal
from headrace.errors import Denied

_LOCAL = Principal("local", "local", "admin", "local", rights.ROLES["admin"])


@dataclass(frozen=True, slots=True)
class Knock:
    """What a request carries. authorization, csrf, origin: headers. address: of the client."""

    method: str
    authorization: str = field(default="", repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    csrf: str = field(default="", repr=False)
    origin: str = ""
    address: str = ""


class Gate:
    """Lets in whom it can prove. token: the installation's own."""

    def __init__(self, token: str) -> None:
        self._token = token

    def enter(self, knock: Knock, permission: str) -> Principal | None:
        """Who knocks, None for a stranger at a public door. Denied ``unauthorized`` (401) or ``forbidden`` (403)."""
        if permission == rights.PUBLIC:
            return None
        scheme, _, given = knock.authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Denied(
                "unauthorized",
                "The token is missing or wrong" if knock.authorization else "A bearer token is wanted",
                "Send `Authorization: Bearer TOKEN`; the token is in the file `token` of the data folder.",
            )
        return _LOCAL
