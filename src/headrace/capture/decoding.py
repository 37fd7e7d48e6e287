"""What a key or value is: JSON, text, bytes, or written by a schema of the registry; and why it is not shown decoded."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from headrace.capture import avro
from headrace.capture.avro import Budget, Schema, Unreadable
from headrace.capture.rest import Rest, part
from headrace.errors import HeadraceError, Invalid, NotFound

# A page of messages is looked at, not exported: bounds for all of it.
_PAGE_VALUES = 200_000
_MESSAGE_VALUES = 20_000
_PAGE_BYTES = 16 * 1024 * 1024
_PAGE_ASKS = 50
_PAGE_SECONDS = 3.0
_SCHEMAS = 500
_REFERENCES = 50
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """A value to show. schema_id: of the registry, where it names one. reason: why it is not decoded by that schema."""

    format: str
    data: Any
    schema_id: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A schema of the registry. avro: None for every other kind."""

    kind: str
    avro: Schema | None


class Registry:
    """Schemas of one registry, kept by id (they never change). Threads may share it."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._known: dict[int, Known] = {}

    def find(self, number: int) -> Known | None:
        """One that is known already."""
        return self._known.get(number)

    def ask(self, number: int) -> Known:
        """One from the registry; NotFound, Invalid, Unavailable, Unreadable."""
        told = self._rest.get(f"/schemas/ids/{number}")
        kind, text, references = _parts(told)
        parsed = None
        if kind == "AVRO":
            named: dict[str, Any] = {}
            self._refer(references, named, set())
            parsed = avro.parse(text, named)
        if len(self._known) >= _SCHEMAS:
            self._known.clear()
        return self._known.setdefault(number, Known(kind, parsed))

    def _refer(self, references: list[Any], named: dict[str, Any], seen: set[tuple[str, str]]) -> None:
        """Add the types of other subjects that a schema speaks of, theirs first."""
        for one in references:
            at = (str(one.get("subject")), str(one.get("version")))
            if at in seen:
                continue
            seen.add(at)
            if len(seen) > _REFERENCES:
                raise Unreadable("its schema refers to too many others")
            told = self._rest.get(f"/subjects/{part(at[0])}/versions/{part(at[1])}")
            _, text, more = _parts(told)
            self._refer(more, named, seen)
            avro.parse(text, named)


@dataclass
class Page:
    """Decodes the values of one page of messages, within bounds for the page as a whole. registry: None without one."""

    registry: Registry | None
    _values: int = _PAGE_VALUES
    _bytes: int = _PAGE_BYTES
    _asks: int = _PAGE_ASKS
    _until: float | None = None
    _refused: dict[int, str] = field(default_factory=dict)
    _away: str = ""

    def shown(self, value: bytes) -> Shown:
        """The value decoded as far as it can be; raw, with the reason, where it cannot."""
        self._bytes -= len(value)
        if self._bytes < 0:
            return Shown("too_large", None, reason="this page is too large: ask for fewer messages")
        number = schema_id(value) if self.registry is not None else None
        if self.registry is None or number is None:
            return Shown(*plain(value))
        try:
            return self._decoded(value[5:], number, self._schema(self.registry, number))
        except Unreadable as error:
            return Shown(*plain(value), number, str(error))

    def _decoded(self, body: bytes, number: int, known: Known) -> Shown:
        if known.avro is not None:
            return Shown("avro", self._avro(body, known.avro), number)
        if known.kind == "JSON":
            found = plain(body)
            if found[0] == "json":
                return Shown(*found, number)
            raise Unreadable(f"schema {number} is of JSON, and it is none")
        raise Unreadable(f"schema {number} is of the kind {known.kind[:40]}, which is not decoded here")

    def _avro(self, body: bytes, schema: Schema) -> Any:
        # One message alone cannot take all that the page may hold.
        budget = Budget(min(_MESSAGE_VALUES, self._values))
        self._values -= budget.values
        try:
            return avro.read(body, schema, budget)
        finally:
            self._values += budget.values

    def _schema(self, registry: Registry, number: int) -> Known:
        found = registry.find(number)
        if found is not None:
            return found
        if number not in self._refused:
            self._require_asking()
            try:
                return registry.ask(number)
            except Unreadable as error:
                self._refused[number] = str(error)
            except NotFound:
                self._refused[number] = f"schema {number}, or one that it refers to, is not in the registry"
            except Invalid as error:
                self._refused[number] = error.message
            except HeadraceError as error:
                # One wait for the page, not one for each message.
                self._away = error.message
                raise Unreadable(error.message) from None
        raise Unreadable(self._refused[number])

    def _require_asking(self) -> None:
        if self._away:
            raise Unreadable(self._away)
        now = time.monotonic()
        self._until = self._until or now + _PAGE_SECONDS
        if self._asks <= 0 or now > self._until:
            raise Unreadable("the registry was asked enough for one page: ask for fewer messages")
        self._asks -= 1


def schema_id(value: bytes) -> int | None:
    """The id of the schema by which a value was written (Confluent's frame), None for any other value."""
    if len(value) < 5 or value[0] != 0:
        return None
    return int(struct.unpack(">I", value[1:5])[0])


def plain(value: bytes) -> tuple[str, Any]:
    """JSON where it is some that can be shown, text where it is UTF-8, else hexadecimal digits; with what it was."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "binary", value.hex()
    try:
        found = json.loads(text, parse_constant=str, parse_float=_float)
        if not _shallow(found):
            return "text", text
        json.dumps(found, ensure_ascii=False).encode()  # half of a pair of surrogates is no text
    except (ValueError, RecursionError):
        return "text", text
    return "json", found


def _float(text: str) -> float | str:
    found = float(text)
    return found if math.isfinite(found) else text


def _shallow(found: Any) -> bool:
    level = [found]
    for _ in range(_DEEPEST):
        level = [each for one in level for each in _inside(one)]
        if not level:
            return True
    return False


def _inside(found: Any) -> Iterable[Any]:
    if isinstance(found, dict):
        return found.values()
    return found if isinstance(found, list) else ()


def _parts(told: Any) -> tuple[str, str, list[Any]]:
    """Kind, text and references of a schema, as the registry told them."""
    if not isinstance(told, dict) or not isinstance(told.get("schema"), str):
        raise Unreadable("the registry did not answer with a schema: is HEADRACE_SCHEMA_REGISTRY right?")
    references = told.get("references") or []
    return (
        str(told.get("schemaType") or "AVRO"),
        told["schema"],
        [r for r in references if isinstance(r, dict)],
    )
