"""A generation: slot, publication, connector, topics and every cut. They are made together and end together."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from headrace.capture.connect import Connect
from headrace.capture.hiding import Folder, is_reference, plain_secrets
from headrace.capture.topics import Topics
from headrace.engines.model import Route, TableName
from headrace.engines.postgres import capture
from headrace.engines.postgres.connection import Login, connect
from headrace.entering import cluster, pkcs8
from headrace.errors import Conflict, HeadraceError, Invalid, Precondition, Unavailable
from headrace.secrecy import known
from headrace.settings import Settings
from headrace.spec.models import PipelineSpec


@dataclass(frozen=True, slots=True)
class Generation:
    """Names of one generation. token: the placeholder for unchanged TOAST values. messages: the source has
    logical messages.

    tables: what the publication held when the slot was made. marker, xid: the marker written right after that,
    before any connector read the slot; it coming out of Kafka proves that capture began where the slot did.
    connected: the connector has run; from here on its absence is a loss.
    """

    id: str
    slot: str
    publication: str
    connector: str
    prefix: str
    token: str
    own_slot: bool = True
    own_publication: bool = True
    messages: bool = True
    tables: tuple[str, ...] = ()
    marker: str = ""
    xid: int = 0
    connected: bool = False

    @property
    def names(self) -> capture.Names:
        """What the engine needs to know of it."""
        return capture.Names(self.slot, self.publication, self.prefix, self.own_slot, self.own_publication)

    def topic(self, table: TableName) -> str:
        """Topic of a table."""
        return capture.topic(self.prefix, table)

    @property
    def marker_topic(self) -> str:
        """Topic of the markers."""
        return capture.marker_topic(self.prefix, self.messages)

    def as_dict(self) -> dict[str, Any]:
        """The form the store keeps."""
        return asdict(self)

    @property
    def reserved(self) -> bool:
        """Publication, slot and first marker are made: from here on the source keeps every change for us."""
        return bool(self.marker)

    def began_with(self, tables: Iterable[TableName]) -> bool:
        """Whether these tables were published before the slot, all by us."""
        return self.own_slot and self.own_publication and {str(t) for t in tables} <= set(self.tables)


def invent(pipeline: str, spec: PipelineSpec, messages: bool) -> Generation:
    """Fresh names for a pipeline; names the user gave are kept as they are."""
    id_ = secrets.token_hex(4)
    word = re.sub(r"[^a-z0-9_]", "_", pipeline.lower())[:40]
    own = f"headrace_{word}_{id_}"
    given = spec.names
    return Generation(
        id=id_,
        slot=given.slot or own,
        publication=given.publication or own,
        connector=f"headrace-{pipeline}-{id_}",
        prefix=f"{given.topic_prefix}.{id_}" if given.topic_prefix else f"headrace.{pipeline}.{id_}",
        token=f"headrace-unavailable-{secrets.token_hex(16)}",
        own_slot=given.slot is None,
        own_publication=given.publication is None,
        messages=messages,
    )


class Makers:
    """Brings a generation about, and undoes it. Every step can be repeated."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.connect = Connect(settings.connect, settings.connect_security)
        self.topics = Topics(cluster(settings))

    def close(self) -> None:
        """Give back connections."""
        self.connect.close()

    def topics_for(self, generation: Generation, routes: Sequence[Route]) -> None:
        """The topics of these routes, and the marker's."""
        self.topics.create([generation.marker_topic, *(generation.topic(r.source.name) for r in routes)])

    def reserve(
        self, pipeline: str, generation: Generation, source: Login, routes: Sequence[Route]
    ) -> Generation:
        """Publication, then slot, then the first marker; the generation with what was learned."""
        with connect(source, name="headrace control") as conn:
            capture.publish(conn, generation.names, [r.source for r in routes])
            capture.create_slot(conn, generation.names)
            marker = capture.emit_marker(conn, pipeline, f"first-{generation.id}")
        return replace(
            generation,
            tables=tuple(sorted(str(r.source.name) for r in routes)),
            marker=marker.text,
            xid=marker.xid,
        )

    def connect_to(
        self,
        pipeline: str,
        generation: Generation,
        spec: PipelineSpec,
        source: Login,
        routes: Sequence[Route],
    ) -> bool:
        """Topics and the running connector, which begins at the slot; whether it was made or given other settings."""
        self.topics_for(generation, routes)
        with connect(source, name="headrace control") as conn:
            version = conn.info.server_version
        changed = self._configure(pipeline, generation, spec, source, routes, version)
        status = self.connect.status(generation.connector)
        if status is None or status.state in ("STOPPED", "PAUSED"):
            self._seed(generation, source)
            self.connect.resume(generation.connector)
        return changed

    def _configure(
        self,
        pipeline: str,
        generation: Generation,
        spec: PipelineSpec,
        source: Login,
        routes: Sequence[Route],
        version: int = 0,
    ) -> bool:
        """Make the connector, or give it the settings it should have: its login changed, or a table came whose
        columns it would stop at. None of them decides which tables it captures."""
        tables = [r.source for r in routes]
        wanted = capture.connector(
            self._for_java(generation.connector, source),
            generation.names,
            pipeline=pipeline,
            token=generation.token,
            password=self._hidden(generation.connector, spec.source, source.password),
            messages=generation.messages,
            version=version,
            tables=tables,
            extra=dict(spec.connector),
        )
        wanted |= self._kept(generation.connector, wanted, spec)
        now = self.connect.config(generation.connector)
        if now is not None and capture.suffices(now, tables):
            # Columns that it leaves out beyond what is needed are no reason to restart it.
            wanted = capture.leaving_out(wanted, now)
        try:
            if now is None:
                self.connect.create(generation.connector, wanted, "STOPPED")
            elif {k: v for k, v in now.items() if k != "name"} != wanted:
                self.connect.configure(generation.connector, wanted)
                if self._settings.connect_secrets is not None:
                    Folder(self._settings.connect_secrets).drop(generation.connector, keep=wanted.values())
            else:
                return False
        except Invalid as error:
            if "unable to connect" not in error.message.lower():
                raise
            # Connect tries the login when it validates; the server may be down just now.
            raise Unavailable(
                "source_unreachable",
                f"Kafka Connect cannot reach the source: {error.message}",
                "Check that the source runs and that Kafka Connect's machine can reach it.",
            ) from error
        return True

    def _seed(self, generation: Generation, source: Login) -> None:
        """Where the slot begins: a connector without offsets waits for ever."""
        if self.connect.offsets(generation.connector):
            return
        if generation.connected:
            raise Unavailable("offsets_gone", f"the offsets of connector {generation.connector} are gone")
        with connect(source, name="headrace control") as conn:
            slot = capture.slot_state(conn, generation.slot)
        if slot is None:
            raise Conflict("slot_gone", f"replication slot {generation.slot} is gone")
        offset = {"partition": {"server": generation.prefix}, "offset": {"lsn": slot.confirmed}}
        self.connect.alter_offsets(generation.connector, [offset])

    def _hidden(self, connector: str, connection: str, secret: str) -> str:
        """A reference that Connect resolves, so that its REST answers never show the password.

        Precondition ``connect_secret`` where Connect is external and nobody said how it finds passwords.
        """
        settings = self._settings
        if settings.connect_secrets is not None:
            return Folder(settings.connect_secrets).put(connector, "password", secret)
        if not secret:
            return secret
        if settings.connect_secret_reference:
            reference = settings.connect_secret_reference.replace("{connection}", connection)
            if not is_reference(reference):
                raise Invalid(
                    "bad_setting",
                    "HEADRACE_CONNECT_SECRET_REFERENCE is no reference of a ConfigProvider",
                    "Such as ${vault:headrace/{connection}:password}.",
                )
            return reference
        if settings.connect_plain_secrets:
            return secret
        raise no_secret_way()

    def _for_java(self, connector: str, source: Login) -> Login:
        """The login with its key in the form that pgjdbc reads, as far as Connect sees our files."""
        if self._settings.connect_secrets is None or source.key is None:
            return source
        key = pkcs8(Path(source.key), der=True)
        return replace(source, key=str(Folder(self._settings.connect_secrets).keep(connector, "sslkey", key)))

    def _kept(self, connector: str, wanted: Mapping[str, str], spec: PipelineSpec) -> dict[str, str]:
        """References for the secrets among the user's own settings; Precondition ``connect_secret``."""
        own = {k: v for k, v in plain_secrets(wanted).items() if spec.connector.get(k) == v}
        known.learn(*own.values())
        if self._settings.connect_secrets is not None:
            folder = Folder(self._settings.connect_secrets)
            folder.guard(spec.connector)
            return {k: folder.put(connector, k, v) for k, v in own.items()}
        if own and not self._settings.connect_plain_secrets:
            raise setting_in_clear(own)
        return {}

    def drop_log(self, generation: Generation) -> None:
        """Connector, its offsets, its secret, topics, consumer group. Repeatable."""
        if self.connect.config(generation.connector) is not None:
            self.connect.stop(generation.connector)
            self.connect.wait(generation.connector, lambda s: s is None or not s.tasks, 60)
            self.connect.delete_offsets(generation.connector)
            self.connect.delete(generation.connector)
        if self._settings.connect_secrets is not None:
            Folder(self._settings.connect_secrets).drop(generation.connector)
        own = self.topics.with_prefix(generation.prefix)
        # Debezium's heartbeat topic puts its own word in front.
        beats = [t for t in self.topics.with_prefix("__debezium-heartbeat") if t.endswith(generation.prefix)]
        self.topics.delete([*own, *beats])

    def drop_source(self, pipeline: str, generation: Generation, source: Login) -> None:
        """Slot and publication, as far as they are ours. Repeatable."""
        with connect(source, name="headrace control") as conn:
            capture.drop(conn, generation.names, pipeline)


def no_secret_way() -> Precondition:
    """The refusal to write a password where Connect's API shows it."""
    return Precondition(
        "connect_secret",
        "The source's password would stand in the connector's configuration, where Kafka Connect's API shows it",
        "Put the password where a ConfigProvider of this Connect finds it, and say where by "
        "HEADRACE_CONNECT_SECRET_REFERENCE, e.g. ${vault:headrace/{connection}:password}; or allow it by "
        "HEADRACE_CONNECT_PLAIN_SECRETS=true.",
    )


def setting_in_clear(names: Iterable[str]) -> Precondition:
    """The refusal to write the user's own secrets where Connect's API shows them."""
    return Precondition(
        "connect_secret",
        f"connector: {', '.join(sorted(names))}: a secret would stand in the connector's configuration, where Kafka "
        "Connect's API shows it",
        "Write a reference of a ConfigProvider of this Connect, such as ${vault:path:key}; or allow it by "
        "HEADRACE_CONNECT_PLAIN_SECRETS=true.",
    )


def stored(raw: dict[str, Any]) -> Generation:
    """The generation that ``as_dict`` gave to the store."""
    return Generation(**{**raw, "tables": tuple(raw.get("tables", ()))})


def position_of(offsets: Sequence[dict[str, Any]]) -> int | None:
    """The furthest position of a connector's offsets, None without any."""
    names = ("lsn", "lsn_proc", "lsn_commit")
    found = [int(o["offset"][n]) for o in offsets if o.get("offset") for n in names if o["offset"].get(n)]
    return max(found, default=None)


def lost_position(trace: str) -> bool:
    """Whether a connector's failure says that its place in the source's log is gone for good."""
    low = trace.lower()
    return any(
        sign in low
        for sign in (
            "no longer available",
            "can't resume",
            "requested wal segment",
            "has already been removed",
            "can no longer get changes from replication slot",
            "offset mismatch",
            "does not exist on the server",
            "is not present in",
        )
    )


def first_lines(error: HeadraceError | str) -> str:
    """The telling part of a stack trace: its first line and the last cause."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")]
    return " ".join([*lines[:1], *causes[-1:]])[:600]
