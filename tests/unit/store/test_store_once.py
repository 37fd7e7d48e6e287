"""Answers that are kept for repeated calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from headrace.store import Store
from headrace.store.once import Answer
from headrace.store.schema import idempotency_keys


def test_one_of_many_does_the_deed_and_all_get_its_answer(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda _: store.begin_once("me", "k", "f"), range(16)))
    assert begun.count(None) == 1
    assert {b.status for b in begun if b} == {None}
    done = Answer("f", 201, {"etag": '"x"'}, '{"secret": "shown once"}')
    store.end_once("me", "k", done)
    assert store.begin_once("me", "k", "f") == done
    assert store.begin_once("you", "k", "f") is None


def test_what_was_not_done_may_be_done_again(store: Store) -> None:
    assert store.begin_once("me", "k", "f") is None
    store.forget_once("me", "k")
    assert store.begin_once("me", "k", "g") is None
    store.end_once("me", "k", Answer("g", 200, {}, ""))
    store.forget_once("me", "k")
    kept = store.begin_once("me", "k", "g")
    assert kept is not None
    assert kept.status == 200


def test_a_call_that_died_with_its_server_is_taken_over_and_old_answers_go(store: Store) -> None:
    store.begin_once("me", "k", "f")
    _age(store, timedelta(minutes=6))
    assert store.begin_once("me", "k", "f") is None
    store.end_once("me", "k", Answer("f", 200, {}, ""))
    assert store.sweep_once() == 0
    _age(store, timedelta(hours=25))
    assert store.sweep_once() == 1


def test_answers_are_encrypted(store: Store) -> None:
    store.begin_once("me", "k", "f")
    store.end_once("me", "k", Answer("f", 200, {}, "hr_plain_secret"))
    with store._reading() as transaction:
        assert "hr_plain_secret" not in str(transaction.execute(idempotency_keys.select()).all())


def _age(store: Store, by: timedelta) -> None:
    with store._writing() as transaction:
        row = transaction.execute(idempotency_keys.select()).one()
        transaction.execute(update(idempotency_keys).values(created_at=row.created_at - by))


@pytest.mark.parametrize("hours", [1, 24])
def test_sweeping_leaves_the_young(store: Store, hours: int) -> None:
    store.begin_once("me", "k", "f")
    assert store.sweep_once(hours) == 0
