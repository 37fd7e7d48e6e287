"""The models of a spec: one class per block of the contract (design 03). Immutable; unknown keys are errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from headrace.spec.durations import Seconds
from headrace.spec.syntax import split_name

ENGINES = (
    "postgres", "mysql", "mariadb", "sqlserver", "oracle", "s3", "gcs",
    "snowflake", "bigquery", "iceberg", "duckdb", "connect",
)  # fmt: skip
Engine = Literal[
    "postgres", "mysql", "mariadb", "sqlserver", "oracle", "s3", "gcs",
    "snowflake", "bigquery", "iceberg", "duckdb", "connect",
]  # fmt: skip
Mode = Literal["full_load_only", "cdc_only", "full_load_and_cdc"]
Mask = Literal["sha256", "redact", "null"]

# What of each field this release carries out; the rest of the contract comes with later releases.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "schema_changes": ("evolve", "pause"),
    "deletes": ("hard",),
    "history": (False,),
    "schedule": (None,),
    "delivery": ("apply",),
}


def _not_yet(what: str, accepted: Sequence[Any]) -> PydanticCustomError:
    context = {"what": what, "accepted": list(accepted)}
    return PydanticCustomError("not_supported_yet", "{what} is not supported yet", context)


def _engine(value: str) -> str:
    if value != "postgres":
        raise PydanticCustomError(
            "engine_not_yet",
            "engine {engine} is not supported yet",
            {"engine": value, "accepted": ["postgres"]},
        )
    return value


# The context of a connection that is stored already: what older releases took can still be seen and mended.
STORED = {"stored": True}
_REFERENCES = re.compile(r"\$\{(?:env|file):[^}]+\}")


def _host(text: str, info: ValidationInfo) -> str:
    # libpq takes a path and a name with @ for a socket of this machine, whose server may ask for no password.
    plain = _REFERENCES.sub("", text)
    if info.context != STORED and any(c in "/\\@?#" or c.isspace() or not c.isprintable() for c in plain):
        raise PydanticCustomError(
            "bad_host",
            "Not a host: the name or the address of a server is wanted, without a path, a login or blanks",
            {"accepted": ["db1.internal", "10.0.0.7"]},
        )
    return text


def _pattern(text: str) -> str:
    try:
        split_name(text)
    except ValueError as error:
        raise PydanticCustomError(
            "bad_name",
            "{name} is not a table name: {why}",
            {
                "name": repr(text),
                "why": str(error),
                "accepted": ["schema.table", "schema.*", '"Weird.Schema".t'],
            },
        ) from None
    return text


def _target(text: str) -> str:
    for part in split_name(_pattern(text)):
        if part.wild and part.text != "*":
            raise PydanticCustomError(
                "bad_name",
                "In a target, * stands alone and means the source's own name",
                {"accepted": ["schema.table", "schema.*"]},
            )
    return text


def _mask_word(value: Any) -> Any:
    # YAML reads a bare `null` as nothing at all; here it is a word.
    return "null" if value is None else value


def _setting(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1)]
TablePattern = Annotated[str, AfterValidator(_pattern)]
TargetName = Annotated[str, AfterValidator(_target)]
Setting = Annotated[str, BeforeValidator(_setting)]


class Model(BaseModel):
    """Base of all: frozen, no unknown keys, values never echoed in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ConnectionSpec(Model):
    """Where a database is and who we are there. The password shows in no repr and no dump."""

    engine: Annotated[Engine, AfterValidator(_engine)]
    host: Annotated[Text, AfterValidator(_host)]
    port: int = Field(default=5432, ge=1, le=65535, strict=True)
    database: Text
    user: Text
    password: SecretStr = SecretStr("")
    tls: Literal["disable", "prefer", "require", "verify-full"] = "prefer"
    ca: Text | None = None
    cert: Text | None = None
    key: Text | None = None

    @property
    def address(self) -> tuple[str, int, str]:
        """Host (lower case), port and database: what makes two connections the same place."""
        return self.host.lower(), self.port, self.database


class ColumnsSpec(Model):
    """Which columns travel: only those named, or all but those named."""

    include: tuple[Text, ...] | None = None
    exclude: tuple[Text, ...] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> ColumnsSpec:
        if (self.include is None) == (self.exclude is None):
            raise PydanticCustomError(
                "one_of", "Give either include or exclude", {"accepted": ["include", "exclude"]}
            )
        return self


class TableSpec(Model):
    """One entry of ``tables``: a name or pattern, and what is special about the tables it decides."""

    name: TablePattern
    target: TargetName | None = None
    columns: ColumnsSpec | None = None
    mask: dict[Text, Annotated[Mask, BeforeValidator(_mask_word)]] = Field(default_factory=dict)
    where: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class ApplySpec(Model):
    """How changes are applied: continuously (``every: 0s``), or gathered (later)."""

    every: Seconds = 0.0

    @field_validator("every")
    @classmethod
    def _continuous(cls, value: float) -> float:
        if value > 0:
            raise _not_yet("applying in micro-batches", ["0s"])
        return value


class LoadSpec(Model):
    """How the first copy runs: parallel workers, and an optional ceiling of rows per second."""

    workers: int = Field(default=4, ge=1, le=64, strict=True)
    rows_per_second: int | None = Field(default=None, ge=1, strict=True)


class NamesSpec(Model):
    """Existing objects to use instead of making new ones."""

    slot: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,63}$")] | None = None
    publication: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    topic_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = None


class PipelineSpec(Model):
    """One pipeline as the user wants it."""

    source: Name
    target: Name
    mode: Mode = "full_load_and_cdc"
    tables: tuple[TableSpec, ...] = Field(default=(TableSpec(name="*.*"),), min_length=1)
    exclude: tuple[TablePattern, ...] = ()
    schema_changes: Literal["evolve", "ignore", "pause"] = "evolve"
    deletes: Literal["hard", "soft", "ignore"] = "hard"
    history: StrictBool = False
    apply: ApplySpec = ApplySpec()
    schedule: Any = None
    load: LoadSpec = LoadSpec()
    create_target: StrictBool = True
    constraints: Literal["keys", "all"] = "keys"
    names: NamesSpec = NamesSpec()
    connector: dict[Text, Setting] = Field(default_factory=dict)
    delivery: Literal["apply", "connect"] = "apply"
    replica_identity: Literal["set", "keep"] = "set"

    @field_validator(*SUPPORTED)
    @classmethod
    def _supported(cls, value: Any, info: ValidationInfo) -> Any:
        accepted = SUPPORTED[str(info.field_name)]
        if value not in accepted:
            raise _not_yet(f"{info.field_name}: {value}", accepted)
        return value

    @model_validator(mode="after")
    def _two_places(self) -> PipelineSpec:
        if self.source == self.target:
            raise PydanticCustomError(
                "same_database", "source and target are the same connection", {"accepted": []}
            )
        return self


class SpecFile(Model):
    """A whole spec: named connections and pipelines."""

    connections: dict[Name, ConnectionSpec] = Field(default_factory=dict)
    pipelines: dict[Name, PipelineSpec] = Field(default_factory=dict)
