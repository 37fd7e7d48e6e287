"""A user's own settings of the connector: none of them may leave rows out or change values."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headrace.spec.models import STORED, PipelineSpec

OVER_THE_STREAM = (
    "transforms", "transforms.a.type", "predicates", "converters", "value.converter.decimal.format",
    "column.mask.hash.SHA-256.with.salt.x", "column.truncate.to.5.chars", "column.include.list",
    "table.exclude.list", "schema.include.list", "event.processing.failure.handling.mode", "errors.tolerance",
    "message.key.columns", "topic.naming.strategy", "topic.creation.groups", "topic.creation.default.cleanup.policy",
    "skip.messages.without.change", "slot.stream.params", "lsn.flush.mode", "signal.kafka.topic", " transforms",
)  # fmt: skip


def pipeline(**connector: str) -> dict[str, object]:
    return {"source": "a", "target": "b", "connector": connector}


@pytest.mark.parametrize("name", OVER_THE_STREAM)
def test_what_the_stream_carries_is_not_the_connectors(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PipelineSpec.model_validate(pipeline(**{name: "x", "max.batch.size": "512"}))
    (found,) = caught.value.errors()
    assert found["type"] == "connector_setting"
    assert found["msg"].endswith(name)


def test_others_are_taken() -> None:
    fine = {
        "max.batch.size": "512",
        "producer.override.acks": "all",
        "xmin.fetch.interval.ms": "10",
        "my.token": "t",
    }
    assert PipelineSpec.model_validate(pipeline(**fine)).connector == fine


def test_what_is_stored_can_still_be_seen() -> None:
    stored = PipelineSpec.model_validate(pipeline(transforms="a"), context=STORED)
    assert stored.connector == {"transforms": "a"}
