"""Bodies of PUT that are what GET answered: what cannot be changed is compared with what is there, not refused."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from headrace.api.answers import ConnectionAnswer, PipelineDetail
from headrace.api.bodies import OLDER, ConnectionBody, PipelineBody
from headrace.api.scope import JSON
from headrace.errors import Invalid
from headrace.spec.models import Model


class Answered(Model):
    """A body of which some may be as the answer has it.

    STAYS: fields that are what they are for good; the others that only the answer has change by themselves, and what
    was read of them is passed over.
    """

    ANSWER: ClassVar[type[BaseModel]]
    STAYS: ClassVar[frozenset[str]]
    _answered: JSON = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _put_aside(cls, data: Any, handler: ModelWrapValidatorHandler[Answered]) -> Answered:
        aside, rest = cls.parted(data) if isinstance(data, dict) else ({}, data)
        made = handler(rest)
        made._answered = aside
        return made

    @classmethod
    def parted(cls, data: JSON) -> tuple[JSON, JSON]:
        """What only the answer has, and the rest."""
        own = {field.alias or name for name, field in cls.model_fields.items()}
        only = {field.alias or name for name, field in cls.ANSWER.model_fields.items()} - own
        return {k: v for k, v in data.items() if k in only}, {k: v for k, v in data.items() if k not in only}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """With what is only read."""
        told = super().__get_pydantic_json_schema__(schema, handler)
        properties = handler.resolve_ref_schema(told)["properties"]
        for name, field in cls.ANSWER.model_fields.items():
            properties.setdefault(
                field.alias or name, {"readOnly": True, "description": "As GET answers it; not changed"}
            )
        return told

    def require_same(self, now: JSON) -> None:
        """Invalid ``read_only`` where the body has something else of what stays than there is now."""
        shown = self.ANSWER.model_validate(now).model_dump(mode="json", by_alias=True)
        differing = {k: shown[k] for k, v in self._answered.items() if k in self.STAYS and v != shown[k]}
        if differing:
            raise Invalid(
                "read_only",
                "; ".join(f"{name} is {value}, and is not changed here" for name, value in differing.items()),
                "Leave it out, or send it as GET answers it; a pipeline's spec is changed in `spec`.",
                {"fields": sorted(differing)},
            )


class ConnectionChange(Answered, ConnectionBody):
    """A connection to change: its fields, or what GET answered with some changed."""

    ANSWER = ConnectionAnswer
    STAYS = frozenset({"id", "name", "is_active", "created_at"})


class PipelineChange(Answered, PipelineBody):
    """A pipeline to change: the fields of its spec, or what GET answered with ``spec`` changed."""

    ANSWER = PipelineDetail
    STAYS = frozenset(
        {
            "id", "name", "user_id", "source", "target", "mode", "source_connection_id", "target_connection_id",
            "frequency_minutes", "enable_full_load", "auto_create_target", "created_at",
        }
    )  # fmt: skip

    @classmethod
    def parted(cls, data: JSON) -> tuple[JSON, JSON]:
        """An answer has the whole spec in ``spec``, and some of it in other words beside it."""
        if not isinstance(data.get("spec"), dict):
            aside, rest = super().parted(data)
            older = {k: aside.pop(k) for k in OLDER & aside.keys()}
            return aside, {**rest, **older}
        told = PipelineDetail.model_fields.keys()
        rest = {k: v for k, v in data.items() if k not in told}
        return {k: v for k, v in data.items() if k in told}, {**data["spec"], **rest}
