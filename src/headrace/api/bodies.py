"""The bodies of requests, where they are more than a model of the spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import Field, GetJsonSchemaHandler, StrictBool, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from headrace.errors import Invalid
from headrace.spec.models import ConnectionSpec, Mode, Model, Name, PipelineSpec, SpecFile
from headrace.spec.secrets import references as unresolved
from headrace.store.records import ConnectionKind


class ConnectionBody(ConnectionSpec):
    """A connection. references: field -> ``${env:X}``, for display; the values themselves come resolved."""

    references: dict[str, str] = Field(default_factory=dict)
    connection_type: ConnectionKind | None = Field(
        default=None, description="What it may be used for; both, or as it was, when left out"
    )

    def spec(self, shown: Mapping[str, Any] | None = None) -> ConnectionSpec:
        """The connection alone; Invalid ``unresolved_secret`` when a field still is a reference.

        shown: how the stored connection is shown; a reference that is shown stands for what is stored.
        """
        own = {name: getattr(self, name) for name in ConnectionSpec.model_fields}
        return resolved(ConnectionSpec.model_construct(**own), shown)


class NewConnection(ConnectionBody):
    """A connection to create."""

    name: Name


class PipelineBody(PipelineSpec):
    """A pipeline. ``source`` and ``target``: name or id of a stored connection. start: at once."""

    start: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _older_words(cls, data: Any) -> Any:
        return _translated(data) if isinstance(data, dict) and data.keys() & OLDER else data

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """With the older words."""
        told = handler(schema)
        properties = handler.resolve_ref_schema(told)["properties"]
        properties["mode"]["enum"] = [*get_args(Mode), *_OLDER_MODES]
        properties |= _OLDER_FIELDS
        return told

    def spec(self) -> PipelineSpec:
        """The pipeline's spec alone."""
        own = {name: getattr(self, name) for name in PipelineSpec.model_fields}
        return PipelineSpec.model_construct(self.model_fields_set & own.keys(), **own)


# Words of the older design -> what is said instead (ADR 0008).
OLDER = frozenset({"frequency_minutes", "enable_full_load", "auto_create_target", "mode"})
# Of micro-batches, when nothing is said.
_MINUTES = 5
_OLDER_MODES = {"batch": "full_load_only", "log": "full_load_and_cdc", "micro-batch": "full_load_and_cdc"}
_OLDER_FIELDS: dict[str, Any] = {
    "frequency_minutes": {
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}],
        "description": "Older word: `schedule.every` with mode `batch`, `apply.every` else",
    },
    "enable_full_load": {"type": "boolean", "description": "Older word: false is mode `cdc_only`"},
    "auto_create_target": {"type": "boolean", "description": "Older word for `create_target`"},
}


def _translated(data: dict[str, Any]) -> dict[str, Any]:
    said = {
        k: v
        for k, v in data.items()
        if k not in ("frequency_minutes", "enable_full_load", "auto_create_target")
    }
    mode, minutes = data.get("mode"), data.get("frequency_minutes")
    if isinstance(mode, str) and mode in _OLDER_MODES:
        said["mode"] = _OLDER_MODES[mode]
    if data.get("enable_full_load") is False and said.get("mode", "full_load_and_cdc") == "full_load_and_cdc":
        said["mode"] = "cdc_only"
    if mode == "micro-batch" and minutes is None:
        minutes = _MINUTES
    if minutes is not None and said.get("mode") == "full_load_only":
        said["schedule"] = {"every": f"{minutes}m"}
    elif minutes is not None:
        said["apply"] = {"every": f"{minutes}m"}
    if "auto_create_target" in data:
        said["create_target"] = data["auto_create_target"]
    return said


class NewPipeline(PipelineBody):
    """A pipeline to create; ``source`` and ``target`` may be whole connections, stored as NAME-source/-target."""

    name: Name
    inline: dict[Name, ConnectionSpec] = Field(default_factory=dict, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _inline(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return data
        given = {side: data[side] for side in ("source", "target") if isinstance(data.get(side), dict)}
        names = {side: f"{data['name']}-{side}" for side in given}
        return {**data, **names, "inline": {names[side]: given[side] for side in given}} if given else data

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """With whole connections."""
        told = super().__get_pydantic_json_schema__(schema, handler)
        properties = handler.resolve_ref_schema(told)["properties"]
        (whole,) = properties.pop("inline")["patternProperties"].values()
        for side in ("source", "target"):
            properties[side] = {"anyOf": [properties[side], whole], "title": side.capitalize()}
        return told


class SpecBody(SpecFile):
    """A whole spec, secrets resolved. references: connection -> field -> ``${env:X}``, for display."""

    references: dict[Name, dict[str, str]] = Field(default_factory=dict)
    start: StrictBool = True


class VerifyBody(Model):
    """What to verify: one table or all; repair what differs."""

    table: str | None = None
    repair: StrictBool = False


def resolved(connection: ConnectionSpec, shown: Mapping[str, Any] | None = None) -> ConnectionSpec:
    """The same; Invalid ``unresolved_secret`` where a field is a reference.

    References are resolved where the user is: a server that did it would read its own files for strangers.
    """
    known = shown or {}
    if left := sorted(name for name, text in unresolved(connection).items() if known.get(name) != text):
        raise Invalid(
            "unresolved_secret",
            f"{', '.join(left)}: references are resolved by the command line, not by the server",
            "Send the values; the reference may stand in `references`, for display.",
            {"fields": left},
        )
    return connection
