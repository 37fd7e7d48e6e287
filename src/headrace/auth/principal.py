"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["local", "session", "api_token", "external"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A proven identity. id: of the user, ``local`` for the installation's own token. session: of a browser or CLI login.

    permissions: words such as ``pipelines:write``; of an API token, those of its user that its scopes leave.
    cookie: it came by cookie, so that other sites could have sent it. token: the id of the API token that it is.
    narrowed: that token has less than the scope ``*``.
    """

    id: str
    name: str
    role: str
    kind: Kind
    permissions: frozenset[str]
    session: str | None = None
    cookie: bool = False
    token: str | None = None
    narrowed: bool = False

    @property
    def login(self) -> str:
        """What it came in by: two logins, or two tokens, of one account differ; a session stays what it is as it is renewed."""
        return ":".join((self.id, self.kind, self.session or self.token or ""))

    def may(self, permission: str) -> bool:
        """Whether it has the permission; everybody proven has ``own``."""
        return permission == "own" or permission in self.permissions
