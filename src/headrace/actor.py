"""On whose behalf something happens: set by the faces, read where it is written down.

A value of the context: threads of a pool that run a part of a call see it, others do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """user: id, None for the program itself. name: for display (an e-mail address, ``local``, ``worker``).

    address: of the client. request_id: of the call, carried through API, store and worker. pipeline: whom it is about.
    """

    user: str | None = None
    name: str = ""
    address: str = ""
    request_id: str = ""
    pipeline: str = ""


NOBODY = Actor()
_current: ContextVar[Actor] = ContextVar("headrace_actor", default=NOBODY)


def current() -> Actor:
    """Who acts here and now."""
    return _current.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Everything inside happens on behalf of this one."""
    before = _current.set(actor)
    try:
        yield
    finally:
        _current.reset(before)
