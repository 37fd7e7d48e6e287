"""The models of a spec: one class per block of the contract (design 03). Immutable; unknown keys are errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from headrace.spec.connector_settings import over_the_stream
from headrace.spec.durations import Seconds
from headrace.spec.expressions import require_whole
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

LibpqSetting = Literal[
    "application_name", "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout", "target_session_attrs", "gssencmode", "channel_binding", "sslsni",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
]  # fmt: skip
# Nothing here says where we log in or as whom, or names a file: the server's own are not the caller's to read.
_LIBPQ: dict[str, str] = {
    "application_name": r"[ -~]{1,63}",
    "connect_timeout": r"[1-9][0-9]?",
    **dict.fromkeys(("keepalives", "sslsni"), "[01]"),
    **dict.fromkeys(("keepalives_idle", "keepalives_interval", "keepalives_count"), "[0-9]{1,5}"),
    "tcp_user_timeout": "[0-9]{1,7}",
    "target_session_attrs": "any|read-write|read-only|primary|standby|prefer-standby",
    **dict.fromkeys(("gssencmode", "channel_binding"), "disable|prefer|require"),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), r"TLSv1(\.[123])?"),
}

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


# The context of what is stored already: what older releases took can still be seen and mended.
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


def _filter(text: str) -> str:
    try:
        return require_whole(text)
    except ValueError as error:
        raise PydanticCustomError(
            "bad_filter",
            "A row filter is one SQL expression; this has {why}",
            {"why": str(error), "accepted": ["country = 'DE'", "total > 10 AND NOT hidden"]},
        ) from None


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
Setting = Annotated[
    str,
    BeforeValidator(_setting),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}),
]
MaskWord = Annotated[
    Mask,
    BeforeValidator(_mask_word),
    WithJsonSchema({"anyOf": [{"type": "string", "enum": list(get_args(Mask))}, {"type": "null"}]}),
]


class Model(BaseModel):
    """Base of all: frozen, no unknown keys, values never echoed in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _libpq(given: dict[Any, str]) -> dict[Any, str]:
    for name, value in given.items():
        if not re.fullmatch(_LIBPQ[name], value):
            raise PydanticCustomError(
                "bad_setting",
                "{name} cannot have this value",
                {"name": name, "accepted": [_LIBPQ[name]]},
            )
    return given


class ConnectionSpec(Model):
    """Where a database is and who we are there. The password shows in no repr and no dump.

    ``schema``: the one that is meant where none is named; a pipeline without ``tables`` takes its tables.
    ``additional_config``: further settings of libpq for the logins of Headrace itself.
    """

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
    # BaseModel has something called schema.
    default_schema: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        default=None, alias="schema"
    )
    additional_config: Annotated[dict[LibpqSetting, str], AfterValidator(_libpq)] = Field(
        default_factory=dict
    )

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
    mask: dict[Text, MaskWord] = Field(default_factory=dict)
    where: Annotated[Text, AfterValidator(_filter)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class _OrName:
    """Tells in a JSON schema that a name alone is an entry as well."""

    @staticmethod
    def __get_pydantic_json_schema__(schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class ApplySpec(Model):
    """How changes are applied: continuously (``every: 0s``), or gathered (later)."""

    every: Seconds = Field(default=0.0, json_schema_extra={"default": "0s"})

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
    tables: tuple[Annotated[TableSpec, _OrName()], ...] = Field(
        default=(TableSpec(name="*.*"),),
        min_length=1,
        description="Left out: every table of the source, or of its connection's own schema",
    )
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
    connector: dict[Text, Setting] = Field(
        default_factory=dict,
        description="Further settings of Debezium and its producer; none that decides what the stream carries",
    )
    delivery: Literal["apply", "connect"] = "apply"
    replica_identity: Literal["set", "keep"] = "set"

    @field_validator(*SUPPORTED)
    @classmethod
    def _supported(cls, value: Any, info: ValidationInfo) -> Any:
        accepted = SUPPORTED[str(info.field_name)]
        if value not in accepted:
            raise _not_yet(f"{info.field_name}: {value}", accepted)
        return value

    @field_validator("connector")
    @classmethod
    def _nothing_over_the_stream(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if info.context != STORED and (names := over_the_stream(value)):
            raise PydanticCustomError(
                "connector_setting",
                "What the stream carries is not the connector's to decide, but that of `tables` (columns, mask, where): {names}",
                {"names": ", ".join(names), "accepted": []},
            )
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
