"""The OpenAPI document tells no less of bodies than the API takes: what is built from it is accepted, and what is accepted fits it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from headrace.api.app import bare_app
from headrace.spec.models import PipelineSpec

PLACE = {"engine": "postgres", "host": "h", "database": "d", "user": "u", "password": "hunter2"}
DOCUMENT = bare_app().openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    return SCHEMAS[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema


def defaults(schema: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every default and example below a schema, with the way to it."""
    found = []
    for name, value in resolved(schema).get("properties", {}).items():
        said = value.get("examples", [])[:1] + ([value["default"]] if "default" in value else [])
        found += [((*path, name), one) for one in said]
        found += defaults(value, (*path, name))
    return found


def fits(name: str, body: Any) -> list[str]:
    """What the document finds wrong with a body."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(body)]


def bodies() -> list[tuple[str, str, dict[str, Any]]]:
    """Bodies with one default or example each: path, schema and body."""
    kinds = (
        ("pipelines", "NewPipeline", {"name": "p9", "source": "a", "target": "b"}),
        ("connections", "NewConnection", {"name": "c9", **PLACE}),
    )
    made = []
    for path, name, least in kinds:
        for way, value in defaults(SCHEMAS[name]):
            body: dict[str, Any] = value
            for step in reversed(way):
                body = {step: body}
            made.append((path, name, {**least, **body}))
    return made


def test_every_default_is_accepted(api: httpx.Client, pipeline: PipelineSpec) -> None:
    assert len(bodies()) > 15
    for path, name, body in bodies():
        assert fits(name, body) == []
        answer = api.post(path, json=body)
        assert answer.status_code == 201, (body, answer.text)
        assert api.delete(f"{path}/{body['name']}").is_success


@pytest.mark.parametrize(
    "more",
    [
        {"apply": {"every": "0s"}},
        {"tables": ["public.users", {"name": "public.*", "mask": {"email": None, "phone": "sha256"}}]},
        {"mode": "batch"},
        {"mode": "log", "frequency_minutes": 0, "enable_full_load": False, "auto_create_target": False},
        {"source": {**PLACE, "host": "other"}, "target": {**PLACE, "port": 5433}},
        {"connector": {"snapshot.mode": "never", "max.batch.size": 512, "tombstones.on.delete": True}},
    ],
)
def test_what_is_accepted_fits_the_document(
    api: httpx.Client, pipeline: PipelineSpec, more: dict[str, Any]
) -> None:
    body = {"name": "p9", "source": "a", "target": "b", **more}
    assert api.post("pipelines", json=body).status_code == 201
    assert fits("NewPipeline", body) == []


def test_the_older_words_are_told() -> None:
    told = SCHEMAS["NewPipeline"]["properties"]
    assert {"batch", "log", "micro-batch"} < set(told["mode"]["enum"])
    assert {"frequency_minutes", "enable_full_load", "auto_create_target"} < set(told)
    assert {"$ref": "#/components/schemas/ConnectionSpec"} in told["source"]["anyOf"]
    assert "inline" not in told
    assert "batch" not in SCHEMAS["PipelineSpec"]["properties"]["mode"]["enum"]


def test_a_connection_alone_may_be_validated() -> None:
    for body in ({"connection": "shop", "tables": ["a.b"]}, {"connection": PLACE}, PLACE):
        assert fits("ValidateBody", body) == []
    assert fits("ValidateBody", {"tables": []})
