"""Pages of lists."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A part of a list: ``items`` are those from ``offset`` on, ``total`` is how many there are in all."""

    items: list[T]
    total: int
    limit: int
    offset: int
