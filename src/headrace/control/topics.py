"""The use cases around Kafka's topics and the schema registry."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException

from headrace.capture.messages import Looking, Wanted, plain, schema_id
from headrace.capture.rest import Rest, part
from headrace.entering import cluster
from headrace.errors import HeadraceError, NotFound
from headrace.settings import Settings

JSON = dict[str, Any]
_SCHEMAS = 500


class TopicCases:
    """One object per process; threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._looking = Looking(cluster(settings))
        self._registry = (
            Rest(
                settings.schema_registry, settings.registry_security, "schema_registry", "The schema registry"
            )
            if settings.schema_registry
            else None
        )
        self._schemas: dict[int, Any] = {}

    def close(self) -> None:
        """Give back connections."""
        if self._registry is not None:
            self._registry.close()

    def topics(self) -> list[JSON]:
        """All topics."""
        return self._looking.topics()

    def topic(self, name: str) -> JSON:
        """One topic with its partitions; NotFound."""
        return self._looking.topic(name)

    def messages(self, name: str, wanted: Wanted) -> list[JSON]:
        """Messages, decoded: Avro by the registry's schema where one is set, JSON, text, else raw."""
        return self._looking.messages(name, wanted, self._decoded)

    def subjects(self) -> list[str]:
        """Subjects of the registry; NotFound ``no_registry`` when none is set."""
        found: list[str] = self._asked("/subjects")
        return sorted(found)

    def versions(self, subject: str) -> list[int]:
        """Versions of a subject."""
        found: list[int] = self._asked(f"/subjects/{part(subject)}/versions")
        return found

    def schema(self, subject: str, version: str) -> JSON:
        """One version of a subject (a number, or ``latest``) with its schema."""
        found = self._asked(f"/subjects/{part(subject)}/versions/{part(version)}")
        return {
            "subject": found["subject"],
            "id": found["id"],
            "version": found["version"],
            "type": found.get("schemaType") or "AVRO",
            "schema": found["schema"],
        }

    def _asked(self, path: str) -> Any:
        if self._registry is None:
            raise NotFound("no_registry", "No schema registry is set", "Set HEADRACE_SCHEMA_REGISTRY.")
        return self._registry.get(path)

    def _decoded(self, value: bytes) -> tuple[str, Any]:
        number = schema_id(value) if self._registry is not None else None
        if number is None:
            return plain(value)
        try:
            schema = self._schema(number)
            found = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
            return "avro", json.loads(json.dumps(found, default=str))
        except (HeadraceError, SchemaParseException, ValueError, EOFError, KeyError, IndexError, TypeError):
            # Not what its first bytes say, or its schema is gone: shown as it is.
            return plain(value)

    def _schema(self, number: int) -> Any:
        if number not in self._schemas:
            told = self._asked(f"/schemas/ids/{number}")
            if len(self._schemas) >= _SCHEMAS:
                self._schemas.clear()
            self._schemas[number] = fastavro.parse_schema(json.loads(told["schema"]))
        return self._schemas[number]
