"""What a spec would change: intents, their preflight, the plan. Reads, asks the databases, stores nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from headrace.capture.hiding import masked
from headrace.control.forms import JSON
from headrace.engines.model import Route
from headrace.errors import Conflict, Finding, Invalid, NotFound
from headrace.secrecy import MASK
from headrace.settings import Settings
from headrace.spec.load import same_database
from headrace.spec.models import ConnectionSpec, PipelineSpec, SpecFile
from headrace.spec.names import TableName
from headrace.spec.patterns import settled
from headrace.store import Store
from headrace.store.records import Pipeline

if TYPE_CHECKING:
    from headrace.control.preflight import Inspection

Place = tuple[str, int, str, TableName]

# A generation is bound to these; changing them means another pipeline.
_FIXED = ("source", "target", "mode", "names")


@dataclass(frozen=True, slots=True)
class Intent:
    """One pipeline of a spec against what is stored."""

    name: str
    spec: PipelineSpec
    source: ConnectionSpec
    target: ConnectionSpec
    before: Pipeline | None
    start: bool

    @property
    def result(self) -> Literal["created", "updated", "unchanged"]:
        """What storing it does."""
        if self.before is None:
            return "created"
        return "unchanged" if self.before.spec == self.spec else "updated"

    @property
    def starts(self) -> bool:
        """Whether it is to be started (again): wanted, and not running well already."""
        going = self.before is not None and self.before.desired == "running" and self.before.status != "error"
        return self.start and not going

    @property
    def needs_preflight(self) -> bool:
        """Before anything is made for it: at the first start, and when a running spec changes."""
        made = self.before is not None and self.before.generation is not None
        running = self.before is not None and self.before.desired == "running"
        return (self.starts and not made) or (self.result != "unchanged" and (self.starts or running))


class Plans:
    """Reader of specs against the store and the databases."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def intents(self, spec: SpecFile, start: bool) -> list[Intent]:
        """One per pipeline. Raises Conflict ``being_deleted`` and ``needs_new_pipeline``."""
        spec = settled(spec)
        intents = []
        for name, wanted in spec.pipelines.items():
            source, target, before = (
                spec.connections[wanted.source],
                spec.connections[wanted.target],
                self._stored(name),
            )
            intents.append(Intent(name, _unmasked(wanted, before), source, target, before, start))
        for intent in intents:
            _refuse_impossible(intent)
        return intents

    def check(self, spec: SpecFile) -> dict[str, list[Finding]]:
        """Pipeline -> all findings."""
        return self.preflight(self.intents(spec, start=True))

    def preflight(self, intents: Sequence[Intent]) -> dict[str, list[Finding]]:
        """Pipeline -> all findings, tables that two pipelines would write included."""
        return {intent.name: findings for intent, _, findings in self._inspected(intents)}

    def plan(self, spec: SpecFile) -> JSON:
        """``{"pipelines": [{"name", "result", "tables", "ddl", "estimate", "findings"}]}``."""
        inspected = self._inspected(self.intents(spec, start=True))
        return {"pipelines": [_plan(intent, found, findings) for intent, found, findings in inspected]}

    def _inspected(self, intents: Sequence[Intent]) -> list[tuple[Intent, Inspection, list[Finding]]]:
        if not intents:
            return []
        from headrace.control.preflight import inspect

        def one(i: Intent) -> Inspection:
            return inspect(self._settings, i.name, i.spec, i.source, i.target, made=self._made(i))

        # Each asks servers that may be far away, or not answer at all.
        with ThreadPoolExecutor(max_workers=4) as pool:
            found = list(zip(intents, pool.map(one, intents), strict=True))
        owners = dict(self._places_of_others({i.name for i in intents}))
        answers = []
        for intent, inspection in found:
            taken = list(_taken(intent, inspection.routes, owners))
            answers.append((intent, inspection, [*inspection.findings, *taken]))
        return answers

    def _made(self, intent: Intent) -> frozenset[TableName]:
        if intent.before is None:
            return frozenset()
        begun = intent.before.generation is not None
        states = self._store.tables(intent.name)
        return frozenset(s.target for s in states if begun or s.detail.get("loaded"))

    def _places_of_others(self, names: set[str]) -> Iterator[tuple[Place, str]]:
        for pipeline in self._store.pipelines():
            if pipeline.name not in names:
                address = self._store.connection(pipeline.spec.target, lost=True).spec.address
                for state in self._store.tables(pipeline.name):
                    yield (*address, state.target), pipeline.name

    def _stored(self, name: str) -> Pipeline | None:
        try:
            return self._store.pipeline(name)
        except NotFound:
            return None


def _unmasked(wanted: PipelineSpec, before: Pipeline | None) -> PipelineSpec:
    """With what answers show as masks as it was; Invalid ``secret_needed`` for a mask that stands for nothing."""
    kept = before.spec.connector if before is not None else {}
    shown = masked(kept)
    own = {k: kept[k] if k in kept and v == shown[k] else v for k, v in wanted.connector.items()}
    if lost := sorted(k for k, v in own.items() if v == MASK):
        raise Invalid(
            "secret_needed",
            f"{', '.join(lost)}: the mask stands for nothing that is stored",
            "Send the value.",
        )
    return wanted.model_copy(update={"connector": own})


def _refuse_impossible(intent: Intent) -> None:
    if problem := same_database(intent.source, intent.target):
        raise problem
    before = intent.before
    if before is None:
        return
    if before.desired == "deleted":
        raise Conflict(
            "being_deleted", f"{intent.name} is being deleted", "Wait until it is gone, then apply."
        )
    changed = [f for f in _FIXED if getattr(before.spec, f) != getattr(intent.spec, f)]
    if before.generation is not None and changed:
        raise Conflict(
            "needs_new_pipeline",
            f"{intent.name}: {', '.join(changed)} cannot change while the pipeline exists",
            f"Delete it first (headrace delete {intent.name}), or give the pipeline another name.",
            {"fields": changed},
        )


def _taken(intent: Intent, routes: Sequence[Route], owners: dict[Place, str]) -> Iterator[Finding]:
    for route in routes:
        place = (*intent.target.address, route.target)
        owner = owners.setdefault(place, intent.name)
        if owner != intent.name:
            yield Finding(
                "target_taken",
                "error",
                "target",
                f"{route.target} is written by the pipeline {owner} already",
                "Give the table another target, or exclude it from one of the pipelines.",
                subject=str(route.target),
            )


def _plan(intent: Intent, found: Inspection, findings: Sequence[Finding]) -> JSON:
    return {
        "name": intent.name,
        "result": intent.result,
        "starts": intent.starts,
        "tables": [_planned(route) for route in found.routes],
        "ddl": list(found.ddl),
        "estimate": found.estimate,
        "findings": [f.as_dict() for f in findings],
    }


def _planned(route: Route) -> dict[str, Any]:
    return {
        "source": str(route.source.name),
        "target": str(route.target),
        "key": list(route.key),
        "columns": len(route.written),
        "masked": [m.source.name for m in route.columns if m.mask],
        "reread": [m.source.name for m in route.written if m.source.carriage == "reread"],
        "where": route.where,
        "rows": route.source.rows if route.source.rows >= 0 else None,
        "bytes": route.source.bytes if route.source.bytes >= 0 else None,
    }
