"""The use cases around Kafka's topics and the schema registry."""

from __future__ import annotations

from typing import Any

from headrace.capture.decoding import Page, Registry
from headrace.capture.messages import Looking, Wanted
from headrace.capture.rest import Rest, part
from headrace.entering import cluster
from headrace.errors import NotFound, Unavailable
from headrace.fuse import Fuse
from headrace.settings import Settings

JSON = dict[str, Any]
# People wait for it, or for messages that it decodes.
_READ_SECONDS = 3.0


class TopicCases:
    """One object per process; threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._looking = Looking(cluster(settings))
        # A Kafka that takes connections and says nothing would hold a thread for ten seconds a call.
        self._fuse = Fuse(
            "kafka",
            "Kafka",
            "Check that it runs (`headrace status`), then try again.",
            Unavailable,
            failures=5,
            rest=5.0,
            most=10,
            patience=0.2,
        )
        self._registry = (
            Rest(
                settings.schema_registry,
                settings.registry_security,
                "schema_registry",
                "The schema registry",
                _READ_SECONDS,
            )
            if settings.schema_registry
            else None
        )
        self._schemas = None if self._registry is None else Registry(self._registry)

    def close(self) -> None:
        """Give back connections."""
        if self._registry is not None:
            self._registry.close()

    def topics(self) -> list[JSON]:
        """All topics."""
        with self._fuse.turn():
            return self._looking.topics()

    def groups(self) -> list[JSON]:
        """All consumer groups."""
        with self._fuse.turn():
            return self._looking.groups()

    def topic(self, name: str) -> JSON:
        """One topic with its partitions; NotFound."""
        with self._fuse.turn():
            return self._looking.topic(name)

    def messages(self, name: str, wanted: Wanted) -> list[JSON]:
        """Messages, decoded: by the registry's schema where one is set, JSON, text, else raw with the reason."""
        with self._fuse.turn():
            return self._looking.messages(name, wanted, Page(self._schemas).shown)

    def subjects(self) -> list[str]:
        """Subjects of the registry; NotFound ``no_registry`` when none is set."""
        try:
            return sorted(self._asked("/subjects", list))
        except NotFound as error:
            if error.code == "no_registry":
                raise
            raise _no_registry_there() from None

    def versions(self, subject: str) -> list[int]:
        """Versions of a subject; NotFound."""
        found: list[int] = self._asked(f"/subjects/{part(subject)}/versions", list)
        return found

    def schema(self, subject: str, version: str) -> JSON:
        """One version of a subject (a number, or ``latest``) with its schema; NotFound."""
        found = self._asked(f"/subjects/{part(subject)}/versions/{part(version)}", dict)
        try:
            return {
                "subject": found["subject"],
                "id": found["id"],
                "version": found["version"],
                "type": found.get("schemaType") or "AVRO",
                "schema": found["schema"],
            }
        except KeyError:
            raise _no_registry_there() from None

    def _asked(self, path: str, kind: type) -> Any:
        if self._registry is None:
            raise NotFound("no_registry", "No schema registry is set", "Set HEADRACE_SCHEMA_REGISTRY.")
        found = self._registry.get(path)
        if not isinstance(found, kind):
            raise _no_registry_there()
        return found


def _no_registry_there() -> Unavailable:
    return Unavailable(
        "schema_registry_answer",
        "What answers at HEADRACE_SCHEMA_REGISTRY has not Confluent's API",
        "Is the URL right? Apicurio's ends in /apis/ccompat/v7.",
    )
