from __future__ import annotations

from typing import Any

import pytest

from headrace.engines.model import Column, Table
from headrace.errors import Invalid
from headrace.plan.routes import routes
from headrace.spec.models import PipelineSpec
from headrace.spec.names import TableName


def column(number: int, name: str, **more: Any) -> Column:
    return Column(name, "text", "text", "bS", number, **more)


def table(schema: str, name: str, **more: Any) -> Table:
    columns = (
        column(1, "id", nullable=False),
        column(2, "email"),
        column(3, "name", nullable=False),
        column(4, "upper_name", generated="upper(name)"),
    )
    return Table(TableName(schema, name), 1, columns, **{"key": ("id",), **more})


USERS, ORDERS, LOG = table("public", "users"), table("public", "orders"), table("audit", "log", key=())
ALL = [USERS, ORDERS, LOG]


def spec(*tables: object, **more: Any) -> PipelineSpec:
    return PipelineSpec.model_validate({"source": "a", "target": "b", "tables": tables, **more})


def refused(*tables: object) -> Invalid:
    with pytest.raises(Invalid) as caught:
        routes(spec(*tables), ALL)
    assert caught.value.guidance
    return caught.value


def test_by_default_all_goes_to_the_same_names() -> None:
    made = routes(PipelineSpec(source="a", target="b"), ALL)
    assert [(r.source, r.target) for r in made] == [(t, t.name) for t in ALL]
    assert [m.target for m in made[0].columns] == ["id", "email", "name", "upper_name"]
    assert [m.target for m in made[0].written] == ["id", "email", "name"]


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("public.users", "crm.people", TableName("crm", "people")),
        ("public.*", "crm.*", TableName("crm", "users")),
        ("public.users", '"Odd.S"."T x"', TableName("Odd.S", "T x")),
        ("public.users", '"*".users', TableName("*", "users")),
    ],
)
def test_targets(name: str, target: str, expected: TableName) -> None:
    assert routes(spec({"name": name, "target": target}), ALL)[0].target == expected


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        ({"exclude": ["email", "upper_name"]}, ["id", "name"]),
        ({"include": ["name", "id"]}, ["id", "name"]),
    ],
)
def test_columns_are_chosen_in_source_order(columns: dict[str, list[str]], kept: list[str]) -> None:
    route = routes(spec({"name": "public.users", "columns": columns}), ALL)[0]
    assert [m.source.name for m in route.columns] == kept


def test_masks_and_filters_travel_with_the_route() -> None:
    entry = {"name": "public.users", "mask": {"email": "sha256"}, "where": "id > 5"}
    route = routes(spec(entry), ALL)[0]
    assert {m.source.name: m.mask for m in route.columns}["email"] == "sha256"
    assert (route.where, route.key) == ("id > 5", ("id",))


@pytest.mark.parametrize(
    ("entry", "code", "said"),
    [
        ({"columns": {"exclude": ["emial"]}}, "unknown_column", "near: email"),
        ({"mask": {"nope": "null"}}, "unknown_column", "no column nope"),
        ({"columns": {"exclude": ["id"]}}, "key_column_excluded", "id"),
        ({"columns": {"include": ["email"]}}, "key_column_excluded", "id"),
        ({"mask": {"id": "sha256"}}, "key_column_excluded", "masked"),
        ({"mask": {"name": "null"}}, "mask_not_nullable", "NOT NULL"),
        ({"mask": {"upper_name": "redact"}}, "mask_generated", "generated"),
    ],
)
def test_what_cannot_be(entry: dict[str, Any], code: str, said: str) -> None:
    error = refused({"name": "public.users", **entry})
    assert error.code == code
    assert said in error.message


def test_a_keyless_table_may_lose_any_column_but_not_all() -> None:
    assert routes(spec({"name": "audit.log", "columns": {"exclude": ["id"]}}), ALL)
    assert refused({"name": "audit.log", "columns": {"include": ["upper_name"]}}).code == "no_columns"


def test_two_tables_into_one_target() -> None:
    error = refused("public.*", {"name": "public.orders", "target": "public.users"})
    assert error.code == "target_collision"
    assert "public.users and public.orders" in error.message


def test_all_problems_at_once() -> None:
    error = refused({"name": "public.*", "columns": {"exclude": ["id", "zzz"]}})
    found = error.context["problems"]
    assert len(found) == 4
    assert {p["table"] for p in found} == {"public.users", "public.orders"}


def test_missing_tables_are_named() -> None:
    assert refused("public.nope").code == "table_not_found"
