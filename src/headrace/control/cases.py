"""The use cases that every face calls: validate, preflight, store. The deed itself is the worker's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from headrace.control import components, discovery, forms
from headrace.control.applying import Intent, Plans
from headrace.control.forms import JSON
from headrace.errors import Conflict, Finding, NotFound, Precondition, not_running, preflight_failed
from headrace.secrecy import MASK
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec, SpecFile
from headrace.spec.names import TableName
from headrace.spec.patterns import near_names, parse_table
from headrace.spec.secrets import masked, require_references, require_same_place, shown_references
from headrace.store import Store
from headrace.store.audits import AuditFilter
from headrace.store.records import Connection, ConnectionKind, Pipeline


class Cases:
    """One object per process; threads may share it. Answers are the JSON forms of the contract."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._plans = Plans(settings, store)
        self._logins = discovery.few_at_once()

    # --- a whole spec

    def check(self, spec: SpecFile) -> dict[str, list[Finding]]:
        """Pipeline -> every finding of its preflight. Raises what keeps a side from being asked at all."""
        with self._logins.turn():
            return self._plans.check(spec)

    def plan(self, spec: SpecFile) -> JSON:
        """What `apply` would bring about, per pipeline: tables, DDL, estimate, findings."""
        with self._logins.turn():
            return self._plans.plan(spec)

    def apply(
        self,
        spec: SpecFile,
        start: bool = True,
        references: forms.References | None = None,
        expected: int | None = None,
        new: bool = False,
    ) -> JSON:
        """Store the spec and (unless told not to) start its pipelines; repeating it changes nothing.

        references: connection -> field -> ``${env:X}``, kept for display. expected: the version that the spec of
        the (one) pipeline has now. new: no pipeline of it may be there. Raises Precondition ``preflight`` or
        ``stale``, or Conflict, before anything is stored.
        """
        intents = self._plans.intents(spec, start)
        for intent in intents:
            self._require_sides(intent.spec)
        with self._logins.turn():
            findings = self._plans.preflight([i for i in intents if i.needs_preflight])
        blocking = [f for found in findings.values() for f in found]
        if any(f.severity == "error" for f in blocking):
            raise preflight_failed(blocking)
        # In one order, so that two who apply the same wait for each other and not in a circle.
        with self._store.together():
            put = {
                name: self._put_connection(name, wanted, (references or {}).get(name, {}), beside=new)
                for name, wanted in sorted(spec.connections.items())
            }
            done = {
                i.name: self._apply_one(i, findings.get(i.name, []), expected, new)
                for i in sorted(intents, key=lambda i: i.name)
            }
        connections = [{"name": name, "result": put[name]} for name in spec.connections]
        return {"connections": connections, "pipelines": [done[i.name] for i in intents]}

    def _require_sides(self, spec: PipelineSpec) -> None:
        for side in ("source", "target"):
            found = self._known(getattr(spec, side))
            if found is not None and found.kind not in (side, "both"):
                raise Conflict(
                    "wrong_side",
                    f"{found.name} is stored as a {found.kind}, not as a {side}",
                    "Use another connection, or change its connection_type.",
                    {"connection": found.name, "connection_type": found.kind},
                )

    def _apply_one(self, intent: Intent, findings: list[Finding], expected: int | None, new: bool) -> JSON:
        stored = self._store.put_pipeline(intent.name, intent.spec, expected, new=new)
        if intent.result != "unchanged":
            old = forms.spec(intent.before.spec) if intent.before else None
            self._note("pipeline", intent.name, intent.result, old=old, new=forms.spec(intent.spec))
        if intent.starts:
            stored = self._store.set_desired(intent.name, "running", status="starting")
        return {
            "name": intent.name,
            "result": intent.result,
            "status": stored.status,
            "started": intent.starts,
            "findings": [f.as_dict() for f in findings],
        }

    # --- pipelines

    def pipelines(
        self, status: str | None, q: str | None, sort: str, limit: int, offset: int
    ) -> tuple[list[JSON], int]:
        """A page of pipelines and how many fit. status: status or phase. q: part of the name."""
        rows, total = self._store.listed(status, q, sort, limit, offset)
        return [forms.listed(row) for row in rows], total

    def pipeline(self, name: str) -> JSON:
        """One pipeline with its spec; NotFound."""
        stored = self._store.pipeline(name)
        return forms.detail(stored, self._store.tables(stored.name), *self._store.ends(stored.id))

    def put_pipeline(
        self,
        name: str,
        spec: PipelineSpec,
        start: bool = False,
        inline: Mapping[str, ConnectionSpec] | None = None,
        expected: int | None = None,
    ) -> JSON:
        """Create or change one pipeline, as ``apply`` does; its connections are stored ones or ``inline``.

        Inline ones are stored with it, or not at all when it fails. Where they are said, though none, the pipeline is
        a new one; Conflict ``exists_already``.
        """
        whole, references = self._one(name, spec, inline or {})
        self.apply(whole, start, references, expected, new=inline is not None)
        return self.pipeline(name)

    def _one(
        self, name: str, spec: PipelineSpec, inline: Mapping[str, ConnectionSpec]
    ) -> tuple[SpecFile, forms.References]:
        connections, references = dict(inline), {}
        for side in ("source", "target"):
            if getattr(spec, side) not in connections:
                stored = self._store.connection(getattr(spec, side))
                # A connection may be named by its id; the spec keeps the name.
                spec = spec.model_copy(update={side: stored.name})
                connections[stored.name], references[stored.name] = stored.spec, stored.references
        return SpecFile(connections=connections, pipelines={name: spec}), references

    def plan_of(self, name: str) -> JSON:
        """The plan of one stored pipeline."""
        plan = self.plan(self._spec_of(self._store.pipeline(name)))
        found: JSON = plan["pipelines"][0]
        return found

    def _spec_of(self, pipeline: Pipeline) -> SpecFile:
        sides = (pipeline.spec.source, pipeline.spec.target)
        connections = {name: self._store.connection(name).spec for name in sides}
        return SpecFile(connections=connections, pipelines={pipeline.name: pipeline.spec})

    def start(self, name: str) -> JSON:
        """Want it running. The first start passes the preflight; later ones are checked by the worker."""
        pipeline = self._living(name)
        if pipeline.desired == "running" and pipeline.status != "error":
            return forms.summary(pipeline)
        if pipeline.generation is None:
            self._pass_preflight(pipeline)
        return self._want(pipeline, "running", "starting")

    def _pass_preflight(self, pipeline: Pipeline) -> None:
        found = self.check(self._spec_of(pipeline))[pipeline.name]
        if any(f.severity == "error" for f in found):
            raise preflight_failed(found)

    def stop(self, name: str) -> JSON:
        """Want it stopped: the connector stops, the slot stays (and holds back WAL until it starts again)."""
        pipeline = self._living(name)
        if pipeline.desired == "stopped":
            return forms.summary(pipeline)
        return self._want(pipeline, "stopped", "stopping")

    def pause(self, name: str) -> JSON:
        """Want applying to rest while capture goes on; Conflict ``not_running``."""
        pipeline = self._living(name)
        if pipeline.desired == "stopped":
            raise not_running(pipeline.name)
        return (
            self._want(pipeline, "paused", None) if pipeline.desired != "paused" else forms.summary(pipeline)
        )

    def resume(self, name: str) -> JSON:
        """Want a paused pipeline running again; Conflict ``not_paused`` for a stopped one."""
        pipeline = self._living(name)
        if pipeline.desired == "stopped":
            raise Conflict(
                "not_paused", f"{pipeline.name} is stopped", f"Start it: headrace start {pipeline.name}"
            )
        if pipeline.desired == "running":
            return forms.summary(pipeline)
        return self._want(pipeline, "running", "starting")

    def delete(self, name: str, drop_target: bool = False, expected: int | None = None) -> JSON:
        """Want it gone: slot, publication, connector, topics, progress; target tables only when told to.

        expected: the version that its spec has now; Precondition ``stale``.
        """
        pipeline = self._store.pipeline(name)
        if pipeline.status == "draft" and pipeline.generation is None and pipeline.desired == "stopped":
            # Nothing was ever made for it.
            with self._store.together():
                self._store.remove_pipeline(pipeline.name, expected)
                self._note("pipeline", pipeline.name, "deleted", old=forms.spec(pipeline.spec))
            return {"name": pipeline.name, "status": "deleted", "phase": None}
        return self._want(pipeline, "deleted", "stopping", expected, drop_target=drop_target)

    def _living(self, name: str) -> Pipeline:
        pipeline = self._store.pipeline(name)
        if pipeline.desired == "deleted":
            raise Conflict(
                "being_deleted",
                f"{pipeline.name} is being deleted",
                "Wait until it is gone, then apply anew.",
            )
        return pipeline

    def _want(
        self, pipeline: Pipeline, desired: Any, status: str | None, expected: int | None = None, **flags: Any
    ) -> JSON:
        with self._store.together():
            wanted = self._store.set_desired(
                pipeline.name, desired, status=status, expected=expected, **flags
            )
            old: JSON = {"desired": pipeline.desired}
            if desired == "deleted":
                old["spec"] = forms.spec(pipeline.spec)
            new = {"desired": desired, **flags}
            self._note("pipeline", pipeline.name, f"desired_{desired}", old=old, new=new)
        return forms.summary(wanted)

    # --- what is going on

    def status(
        self, lives: Mapping[str, bool], url: str | None = None, supervised: Sequence[JSON] = ()
    ) -> JSON:
        """``{"ready", "components", "pipelines"}``. url: this server's; lives, supervised: as for ``components``."""
        found = self.components(lives, url, supervised)
        return {
            "ready": all(c["state"] == "running" for c in found),
            "components": found,
            "pipelines": [{k: p[k] for k in ("name", "status", "phase")} for p in self._store.figures()],
        }

    def components(
        self, lives: Mapping[str, bool], url: str | None = None, supervised: Sequence[JSON] = ()
    ) -> list[JSON]:
        """Those of ``components``, without pipelines."""
        return components.components(self._settings, self._store, lives, url, supervised)

    def pipeline_status(self, name: str) -> JSON:
        """State, phase, lag and tables of one pipeline, in the form of the contract."""
        return forms.status(self._store.pipeline(name), self._store.tables(name))

    def tables(self, name: str, limit: int, offset: int) -> tuple[list[JSON], int]:
        """A page of per-table states, as in a status, and where each goes; and how many tables there are."""
        found, total = self._store.listed_tables(name, limit, offset)
        return [{**forms.table(t), "target": str(t.target)} for t in found], total

    def certificate(self, name: str) -> JSON:
        """The handoff certificate as of now: per table the cut, and what the last verification counted."""
        return forms.certificate(
            self._store.pipeline(name), self._store.tables(name), self._store.certificate(name)
        )

    def logs(
        self,
        name: str,
        level: str | None,
        limit: int,
        since: datetime | None,
        component: str | None = None,
        request_id: str | None = None,
        before: int | None = None,
    ) -> list[JSON]:
        """The newest lines that fit, oldest first. before: older than the line of that id."""
        found = self._store.logs(name, level, limit, since, component, request_id, before)
        return [forms.log_line(line) for line in found]

    # --- asked of the worker

    def resync(self, name: str, table: str) -> JSON:
        """Ask for the exact reload of one table; NotFound ``no_such_table``."""
        return self._ask(name, "resync", {"table": str(self._table(name, table))})

    def verify(self, name: str, table: str | None = None, repair: bool = False) -> JSON:
        """Ask for a comparison while both sides move."""
        chosen = str(self._table(name, table)) if table else None
        return self._ask(name, "verify", {"table": chosen, "repair": repair})

    def request(self, id_: str) -> JSON:
        """How a request stands."""
        return forms.request(self._store.request(id_))

    def _ask(self, name: str, kind: str, args: JSON) -> JSON:
        pipeline = self._living(name)
        if pipeline.desired == "stopped":
            raise not_running(pipeline.name)
        if kind == "verify" and pipeline.status == "error":
            why = pipeline.error or {}
            raise Conflict(
                "in_error",
                f"{pipeline.name} is in error and applies nothing: {why.get('message', 'see its log')}",
                str(why.get("guidance") or "Read its log, then start it again."),
                {"error": why},
            )
        with self._store.together():
            self._note("pipeline", pipeline.name, kind, new=args)
            return self.request(self._store.ask(name, kind, args))

    def _table(self, name: str, text: str) -> TableName:
        wanted = parse_table(text)
        known = [t.source for t in self._store.tables(name)]
        if wanted in known:
            return wanted
        near = near_names(str(wanted), [str(k) for k in known])
        hint = f" (near: {', '.join(near)})" if near else ""
        raise NotFound(
            "no_such_table",
            f"The pipeline {name} has no table {wanted}{hint}",
            f"See `headrace tables {name}`.",
            {"table": str(wanted), "near": near},
        )

    # --- connections

    def connections(
        self,
        q: str | None,
        engine: str | None,
        sort: str,
        limit: int,
        offset: int,
        kind: ConnectionKind | None = None,
    ) -> tuple[list[JSON], int]:
        """A page of connections, secrets masked, and how many fit."""
        found, total = self._store.connections(q, engine, sort, limit, offset, kind=kind, lost=True)
        return [forms.connection(c) for c in found], total

    def connection(self, name: str) -> JSON:
        """One connection, secrets masked; NotFound."""
        return forms.connection(self._store.connection(name, lost=True))

    def add_connection(
        self,
        name: str,
        spec: ConnectionSpec,
        references: dict[str, str],
        kind: ConnectionKind | None = None,
    ) -> JSON:
        """Store a new connection; Conflict ``exists_already``, Invalid ``bad_reference``."""
        with self._store.together():
            self._put_connection(name, spec, references, kind=kind, new=True)
            return self.connection(name)

    def put_connection(
        self,
        name: str,
        spec: ConnectionSpec,
        references: dict[str, str],
        expected: int | None = None,
        kind: ConnectionKind | None = None,
    ) -> JSON:
        """Create or change a connection. kind: None leaves it. What is as an answer shows it (a mask, a reference) stays.

        Invalid ``secret_needed`` where it would go to another place than before, ``bad_reference``.
        """
        known = self._known(name)
        if known is not None and spec.password.get_secret_value() in (MASK, known.references.get("password")):
            old = self._store.connection(name)
            require_same_place(old.spec, spec)
            spec = spec.model_copy(update={"password": old.spec.password})
            references = {**old.references, **references}
        with self._store.together():
            self._put_connection(name, spec, references, expected, kind)
            return self.connection(name)

    def _put_connection(
        self,
        name: str,
        spec: ConnectionSpec,
        references: dict[str, str],
        expected: int | None = None,
        kind: ConnectionKind | None = None,
        new: bool = False,
        beside: bool = False,
    ) -> str:
        require_references(references)
        old = None if new else self._known(name)
        stored = self._store.put_connection(
            name,
            spec,
            references=shown_references(references),
            expected=expected,
            kind=kind,
            new=new,
            beside=beside,
        )
        if old == stored:
            return "unchanged"
        result = "updated" if old else "created"
        self._note("connection", name, result, old=_audited(old) if old else None, new=_audited(stored))
        return result

    def _known(self, name: str) -> Connection | None:
        try:
            return self._store.connection(name, lost=True)
        except NotFound:
            return None

    def delete_connection(self, name: str, expected: int | None = None) -> None:
        """Forget a connection; Conflict ``connection_in_use``, Precondition ``stale``."""
        gone = self._store.connection(name, lost=True)
        with self._store.together():
            self._store.delete_connection(gone.id, expected)
            self._note("connection", gone.name, "deleted", old=_audited(gone))

    def test_connection(self, name: str) -> JSON:
        """Log in and say what is there, or why not; the outcome is kept in the history."""
        connection = self._store.connection(name)
        with self._logins.turn():
            found = discovery.test(connection.spec)
        why = found["error"] and found["error"]["message"]
        self._store.add_connection_test(
            name, "ok" if found["ok"] else "failed", found["response_time_ms"], why
        )
        return {"name": connection.name, **found}

    def connection_tests(self, name: str, limit: int, offset: int) -> tuple[list[JSON], int]:
        """A page of past tests, newest first, and how many there are."""
        found, total = self._store.connection_tests(name, limit, offset)
        return [forms.connection_test(t) for t in found], total

    def discover(self, name: str) -> JSON:
        """``{"name", "tables": [...]}`` with columns, keys and estimates."""
        connection = self._store.connection(name)
        with self._logins.turn():
            return {"name": connection.name, "tables": discovery.tables(connection.spec)}

    # --- what was written down

    def audits(self, which: AuditFilter, limit: int, offset: int) -> tuple[list[JSON], int]:
        """A page of changes, the newest first, and how many fit."""
        found, total = self._store.audits(which, limit, offset)
        return [forms.audit(a) for a in found], total

    def every_audit(self, which: AuditFilter) -> Iterator[JSON]:
        """All changes that fit, the oldest first."""
        return map(forms.audit, self._store.every_audit(which))

    def dead_letters(
        self, name: str, status: str | None, table: str | None, limit: int, offset: int
    ) -> tuple[list[JSON], int]:
        """A page of events that the target refused, in the order they came, and how many fit."""
        source = parse_table(table) if table else None
        found, total = self._store.dead_letters(name, status, source, limit, offset)
        return [forms.dead_letter(letter) for letter in found], total

    def settle_dead_letters(self, name: str, action: str, ids: Sequence[str]) -> JSON:
        """Discard waiting dead letters, all or none. Precondition ``not_supported_yet`` for a replay."""
        if action == "replay":
            raise Precondition(
                "not_supported_yet",
                "Dead letters cannot be replayed yet: a refused row pauses its table instead",
                f"Mend the row or the target, then: headrace resync {name} TABLE.",
            )
        pipeline = self._store.pipeline(name)
        with self._store.together():
            self._store.discard_dead_letters(pipeline.id, ids)
            self._note("pipeline", pipeline.name, "dead_letters_discarded", new={"ids": list(ids)})
        return {"settled": len(ids)}

    def _note(
        self, kind: str, name: str, action: str, *, old: JSON | None = None, new: JSON | None = None
    ) -> None:
        self._store.audit(kind, name, action, old=old, new=new)


def _audited(connection: Connection) -> JSON:
    return {**masked(connection.spec, connection.references), "connection_type": connection.kind}
