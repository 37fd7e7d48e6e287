"""What the user asks for in alerts: rules and channels; pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from headrace.secrecy import MASK
from headrace.spec.models import Model

Metric = Literal[
    "lag_seconds",
    "lag_events",
    "lag_bytes",
    "throughput_events_per_sec",
    "error_count",
    "latency_p99_ms",
    "pipeline_failed",
    "connection_failed",
    "failed_logins",
    "disk_free_bytes",
]
METRICS: tuple[str, ...] = get_args(Metric)
Condition = Literal["gt", "gte", "lt", "lte", "eq"]
Severity = Literal["info", "warning", "critical"]
ChannelKind = Literal["email", "webhook", "slack", "in_app"]
Label = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True)]
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")
_ADDRESS = re.compile(r"[^@\s,]+@[^@\s,]+")


def _url(value: SecretStr) -> SecretStr:
    # The mask of an answer, sent back, means: as it is.
    if value.get_secret_value() != MASK and not _URL.fullmatch(value.get_secret_value()):
        raise PydanticCustomError("bad_url", "A URL with http or https is wanted")
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise PydanticCustomError("bad_address", "An e-mail address is wanted")
    return value


Address = Annotated[str, StringConstraints(max_length=320), AfterValidator(_address)]
SecretUrl = Annotated[SecretStr, Field(max_length=2000), AfterValidator(_url)]


class RuleSpec(Model):
    """When to raise an alert: a metric that meets the condition for so long, and who is told."""

    name: Label
    metric: Metric
    condition: Condition = "gt"
    threshold: float = Field(default=0.0, allow_inf_nan=False)
    duration_seconds: int = Field(default=60, ge=0, le=86_400)
    severity: Severity = "warning"
    channels: tuple[Label, ...] = ()
    enabled: bool = True


class EmailConfig(Model):
    """A mail server and whom to write to."""

    host: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    user: str = ""
    password: SecretStr = SecretStr("")
    sender: Address
    recipients: tuple[Address, ...] = Field(min_length=1, max_length=50)


class ChannelSpec(Model):
    """Where alerts go. ``url`` of webhook and Slack is a secret: who has it can post."""

    name: Label
    kind: ChannelKind
    enabled: bool = True
    email: EmailConfig | None = None
    url: SecretUrl | None = None
    signing_key: SecretStr | None = None

    @model_validator(mode="after")
    def _whole(self) -> ChannelSpec:
        wanted = {"email": "email", "webhook": "url", "slack": "url"}.get(self.kind)
        given = {name for name in ("email", "url", "signing_key") if getattr(self, name) is not None}
        allowed = {wanted, *({"signing_key"} if self.kind == "webhook" else set())}
        if wanted and wanted not in given:
            raise PydanticCustomError(
                "missing_key", "{kind} needs {wanted}", {"kind": self.kind, "wanted": wanted}
            )
        if extra := given - allowed:
            raise PydanticCustomError(
                "unknown_key",
                "{kind} knows no {extra}",
                {"kind": self.kind, "extra": ", ".join(sorted(extra))},
            )
        return self

    def split(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What may be read by everybody, and the secrets."""
        secrets: dict[str, str] = {}
        for name in ("url", "signing_key"):
            if (value := getattr(self, name)) is not None:
                secrets[name] = value.get_secret_value()
        if self.email is None:
            return {}, secrets
        secrets["password"] = self.email.password.get_secret_value()
        return self.email.model_dump(mode="json", exclude={"password"}), secrets
