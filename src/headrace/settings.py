"""Where this process finds its surroundings: read once from the environment, passed on as one value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import platformdirs

from headrace.errors import Invalid


def _secret() -> str:
    return field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How to enter Kafka (``HEADRACE_KAFKA_*``); librdkafka's words. ca, cert, key: PEM files."""

    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = _secret()
    ca: str = ""
    cert: str = ""
    key: str = ""
    key_password: str = _secret()


@dataclass(frozen=True, slots=True)
class HttpSecurity:
    """How to enter an HTTP service: basic authentication, the CA to believe, a client certificate (PEM files)."""

    user: str = ""
    password: str = _secret()
    ca: str = ""
    cert: str = ""
    key: str = ""
    key_password: str = _secret()


@dataclass(frozen=True, slots=True)
class Access:
    """Who may enter the API (``HEADRACE_*``).

    admin_email, admin_password: the first account; the password is made and shown once when not given.
    signup: whether strangers may sign up. access_seconds, refresh_seconds: lives of the tokens of a session.
    oidc_issuer, oidc_audience: an OpenID Connect issuer whose tokens are believed. oidc_client_id,
    oidc_client_secret: for signing in with a browser; oidc_role: role of accounts that come so, unless the
    claim ``oidc_role_claim`` names one of ours (it is followed; without the claim the role is oidc_role again, or what
    an admin gave; any other name is refused). supabase_url: a Supabase project (its tokens are verified by its JWKS);
    supabase_jwt_secret: by the shared secret instead.
    """

    admin_email: str = "admin@localhost"
    admin_password: str = _secret()
    signup: bool = False
    access_seconds: int = 900
    refresh_seconds: int = 14 * 86400
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = _secret()
    oidc_role: str = "user"
    oidc_role_claim: str = "headrace_role"
    supabase_url: str = ""
    supabase_jwt_secret: str = _secret()


@dataclass(frozen=True, slots=True)
class Web:
    """How the API serves (``HEADRACE_*``).

    public_url: where users reach it; its host is believed beside loopback, https makes cookies secure.
    trusted_proxies: addresses whose X-Forwarded-For is believed. cors_origins: other sites whose pages may call.
    rate_*: requests a minute: of one principal, of one address that is not logged in, and logins of one address.
    max_body_bytes: of a request. receive_seconds: in which the head, and then the body, of a request has to come.
    connections_each: of one address (a trusted proxy's are not counted). live_each: who watch live in one account's name.
    webhook_private: channels of alerts may call this machine and private networks.
    """

    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    rate_principal: int = 60_000
    rate_anonymous: int = 600
    rate_login: int = 30
    max_body_bytes: int = 4 << 20
    receive_seconds: float = 20.0
    connections_each: int = 2000
    live_each: int = 1000
    webhook_private: bool = True


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long what is kept (``HEADRACE_KEEP_*``): days."""

    logs: int = 14
    metrics: int = 31
    audit: int = 365


@dataclass(frozen=True, slots=True)
class Settings:
    """Surroundings of one process.

    data: folder of this installation (metadata, keys, token, logs, the embedded Kafka's log).
    kafka: bootstrap servers. connect: base URL of Kafka Connect's REST API.
    database_url: SQLAlchemy URL of the metadata; SQLite in ``data`` unless set.
    connect_secrets: folder that Kafka Connect's DirectoryConfigProvider may read (embedded Connect only);
    None where Connect is external and cannot see our files. connect_secret_reference: how an external Connect
    finds the password of a connection, e.g. ``${vault:headrace/{connection}:password}``;
    connect_plain_secrets: it may stand in the connector's configuration after all. connect_log: Connect's log file.
    redis: URL for rate limits and live fan-out across replicas. schema_registry: URL of a registry with Confluent's API.
    log_format: ``json`` or ``text``.
    """

    data: Path
    kafka: str = "127.0.0.1:9092"
    connect: str = "http://127.0.0.1:8083"
    database_url: str = field(default="", repr=False)
    connect_secrets: Path | None = None
    connect_secret_reference: str = ""
    connect_plain_secrets: bool = False
    connect_log: Path | None = None
    redis: str = field(default="", repr=False)
    schema_registry: str = ""
    log_format: str = "json"
    log_level: str = "info"
    kafka_security: KafkaSecurity = KafkaSecurity()
    connect_security: HttpSecurity = HttpSecurity()
    registry_security: HttpSecurity = HttpSecurity()
    access: Access = Access()
    web: Web = Web()
    keep: Keeping = Keeping()

    @property
    def metadata_url(self) -> str:
        """SQLAlchemy URL of the metadata store."""
        return self.database_url or f"sqlite:///{self.data / 'headrace.db'}"

    @property
    def token_file(self) -> Path:
        """File with the local API token, mode 0600."""
        return self.data / "token"

    @property
    def admin_file(self) -> Path:
        """File with the first account's made password, mode 0600, until it was shown."""
        return self.data / "admin-password"

    @property
    def key_file(self) -> Path:
        """File with the key that encrypts stored secrets, mode 0600."""
        return self.data / "secret.key"

    @property
    def secrets(self) -> list[str]:
        """What of these settings nobody may see: passwords, and those within addresses."""
        held = [getattr(part, f.name) for _, part in self._parts() for f in fields(part) if not f.repr]
        return [urlsplit(text).password or "" if "://" in text else text for text in held if text]

    def environment(self) -> dict[str, str]:
        """The variables that give a child process the same surroundings."""
        env = {
            "HEADRACE_DATA": str(self.data),
            "HEADRACE_KAFKA": self.kafka,
            "HEADRACE_CONNECT": self.connect,
        }
        for prefix, part in self._parts():
            for each in fields(part):
                value = getattr(part, each.name)
                if each.name in ("data", "kafka", "connect") or each.name in PARTS or value == each.default:
                    continue
                env[prefix + each.name.upper()] = _said(value)
        return env

    def _parts(self) -> list[tuple[str, Any]]:
        return [("HEADRACE_", self), *((prefix, getattr(self, name)) for name, prefix in PARTS.items())]


# Part -> what its variables begin with.
PARTS = {
    "kafka_security": "HEADRACE_KAFKA_",
    "connect_security": "HEADRACE_CONNECT_",
    "registry_security": "HEADRACE_SCHEMA_REGISTRY_",
    "access": "HEADRACE_",
    "web": "HEADRACE_",
    "keep": "HEADRACE_KEEP_",
}


def from_environment(env: Mapping[str, str] = os.environ, data: Path | None = None) -> Settings:
    """Settings from ``HEADRACE_*`` variables; ``data`` wins over ``HEADRACE_DATA``. Invalid ``bad_setting``."""
    folder = data or Path(env.get("HEADRACE_DATA") or platformdirs.user_data_dir("headrace"))
    hints = get_type_hints(Settings)
    parts = {name: hints[name](**_given(hints[name], prefix, env)) for name, prefix in PARTS.items()}
    own = _given(Settings, "HEADRACE_", env)
    for name in ("connect", "schema_registry"):
        _require_no_login(f"HEADRACE_{name.upper()}", own.get(name, ""))
    _require_named(parts["web"].cors_origins)
    return Settings(**{**own, **parts, "data": folder.expanduser().absolute()})


def _require_no_login(variable: str, url: str) -> None:
    """An address is shown in findings and logs; a password has a variable of its own."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise Invalid(
            "bad_setting",
            f"{variable}: the address may hold no user and password",
            f"Give them by {variable}_USER and {variable}_PASSWORD.",
        )


def _require_named(origins: tuple[str, ...]) -> None:
    """A page that may call sends its user's cookies along; whoever lets every page in lets every page act for them."""
    if wrong := [origin for origin in origins if "*" in origin or origin == "null"]:
        raise Invalid(
            "bad_setting",
            f"HEADRACE_CORS_ORIGINS: {wrong[0]} would let the pages of any site call in a user's name",
            "Name each site, such as https://app.example.org.",
        )


def _given(kind: Any, prefix: str, env: Mapping[str, str]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {
        each.name: _parsed(prefix + each.name.upper(), text, hints[each.name])
        for each in fields(kind)
        if each.name not in PARTS and (text := env.get(prefix + each.name.upper()))
    }


def _parsed(variable: str, text: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.lower()
            ]
        if kind in (int, float):
            return kind(text)
    except (KeyError, ValueError):
        wanted = "true or false" if kind is bool else "a number"
        raise Invalid(
            "bad_setting", f"{variable}: {wanted} is wanted", f"Mend the variable {variable}."
        ) from None
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return Path(text) if Path in (kind, *get_args(kind)) else text


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)
