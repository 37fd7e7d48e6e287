"""The examples of the OpenAPI document are bodies that the API takes."""

from __future__ import annotations

import re

import httpx

from headrace.api.app import bare_app
from headrace.api.examples import BODIES
from headrace.spec.models import PipelineSpec


def test_every_body_has_one() -> None:
    paths = bare_app().openapi()["paths"]
    told = {
        f"{method.upper()} {path.removeprefix('/api/v1')}": operation["requestBody"]["content"][
            "application/json"
        ]["example"]
        for path, item in paths.items()
        for method, operation in item.items()
        if "requestBody" in operation
    }
    assert told == BODIES


def test_each_is_taken(api: httpx.Client, pipeline: PipelineSpec) -> None:
    wrong = []
    for route, body in BODIES.items():
        method, path = route.split(" ")
        # Nothing of that name: what is refused then is not the body.
        answer = api.request(method, re.sub(r"{\w+}", "public.nope", path).lstrip("/"), json=body)
        if answer.status_code in (400, 422, 500):
            wrong.append((route, answer.text))
    assert wrong == []
