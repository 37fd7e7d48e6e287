"""One look at both sides for one pipeline: what would be replicated, what stands against it, what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.capture.hiding import plain_secrets
from headrace.checks import log as log_checks
from headrace.checks.run import at, collect
from headrace.control.generation import no_secret_way, setting_in_clear
from headrace.engines.model import Route, Table, TableName
from headrace.engines.postgres import catalog, checks_source, checks_source_tables, checks_target, ddl
from headrace.engines.postgres.connection import Login, connect
from headrace.engines.postgres.events import Decoder
from headrace.engines.postgres.sequences import followed
from headrace.entering import PEM, cluster
from headrace.errors import Finding, Precondition
from headrace.plan.routes import routes as plan_routes
from headrace.secrecy import known
from headrace.settings import Settings
from headrace.spec.models import ConnectionSpec, PipelineSpec
from headrace.spec.patterns import select

# What one core moved when measured; an estimate says the order of magnitude, not more.
BYTES_PER_SECOND = 45_000_000


@dataclass(frozen=True, slots=True)
class Inspection:
    """routes: what goes where. findings: of every side. ddl: statements that would run on the target.

    estimate: ``{"tables", "rows", "bytes", "seconds"}``.
    """

    routes: list[Route]
    findings: list[Finding]
    ddl: list[str] = field(default_factory=list)
    estimate: dict[str, Any] = field(default_factory=dict)


def login(spec: ConnectionSpec) -> Login:
    """How the PostgreSQL engine logs in with this connection; no log line shows its password from here on."""
    known.learn(spec.password.get_secret_value())
    return Login(
        host=spec.host,
        port=spec.port,
        database=spec.database,
        user=spec.user,
        password=spec.password.get_secret_value() if spec.password else "",
        tls=spec.tls,
        ca=spec.ca,
        cert=spec.cert,
        key=spec.key,
        further=tuple(sorted(spec.additional_config.items())),
    )


def read_routes(spec: PipelineSpec, source: Login) -> list[Route]:
    """The routes of a pipeline as the source's catalogue has them now. Raises Invalid for what does not fit."""
    with connect(source, name="headrace catalog") as conn:
        chosen = [name for name, _ in select(spec, catalog.tables(conn))]
        described = catalog.describe(conn, chosen) if chosen else []
    return plan_routes(spec, described)


def inspect(
    settings: Settings,
    name: str,
    spec: PipelineSpec,
    source: ConnectionSpec,
    target: ConnectionSpec,
    *,
    made: frozenset[TableName] = frozenset(),
) -> Inspection:
    """Ask both sides, Kafka and Connect everything. made: target tables that this pipeline made already."""
    source_login, target_login = login(source), login(target)
    # Raises what makes every further question pointless: an unreachable source, a wrong table name.
    try:
        found = read_routes(spec, source_login)
    except Exception:
        unreachable = collect(at("target", lambda: _reach(target_login)))
        if unreachable:
            # Both sides are told at once where both are wrong.
            source_findings = collect(at("source", lambda: _reach(source_login)))
            if source_findings:
                return Inspection([], [*source_findings, *unreachable])
        raise
    tables = [_without_excluded(r) for r in found]
    streams = spec.mode != "full_load_only"
    # Tables that are only streamed into have their rows, and their form, already.
    loads = spec.mode != "cdc_only"
    creates = spec.create_target and loads
    fresh = {r.target for r in found} - made if loads else set()
    first: list[str] = []
    findings = collect(
        at(
            "source",
            lambda: checks_source.check(
                source_login,
                tables,
                slot=spec.names.slot or "headrace_new",
                publication=spec.names.publication,
                replica_identity=spec.replica_identity,
                mode=spec.mode,
                sequences=followed(found) if spec.create_target else (),
            ),
        ),
        at(
            "target",
            lambda: checks_target.check(
                target_login, found, create_target=creates, fresh=fresh, pipeline=name
            ),
        ),
        at("target", lambda: checks_target.same_database(source_login, target_login, found)),
        at(
            "target",
            lambda: checks_target.prerequisites(source_login, target_login, found, first) if creates else [],
        ),
        at(
            "kafka",
            lambda: log_checks.kafka(cluster(settings), settings.connect_secrets is None) if streams else [],
        ),
        at(
            "connect",
            lambda: log_checks.connect(settings.connect, settings.connect_security) if streams else [],
        ),
        at("connect", lambda: _secret_way(settings, spec, source) if streams else []),
        at("connect", lambda: _key_form(settings, source) if streams else []),
        at("spec", lambda: [*_route_findings(found), *_foreign_keys(spec, found)]),
        at("spec", lambda: [f for r in found for f in _masks(r)] if streams else []),
    )
    if creates:
        # What Headrace has made it makes anew where the spec changes its form.
        ours = {str(name) for name in made}
        findings = [f for f in findings if f.code != "target_table_differs" or f.subject not in ours]
    counted = [r.source.rows for r in found]
    size = sum(max(r.source.bytes, 0) for r in found)
    estimate = {
        "tables": len(found),
        # A table that was never analysed has no estimate.
        "rows": None if min(counted, default=0) < 0 else sum(counted),
        "bytes": size,
        "seconds": round(size / BYTES_PER_SECOND + 0.2 * len(found), 1),
    }
    statements = (
        [*first, *(s for r in found if r.target in fresh for s in (*ddl.create_table(r), *ddl.finishing(r)))]
        if creates and not any(f.severity == "error" for f in findings)
        else []
    )
    return Inspection(found, findings, statements, estimate)


def _secret_way(settings: Settings, spec: PipelineSpec, source: ConnectionSpec) -> list[Finding]:
    """How Kafka Connect gets secrets, where it cannot read our files."""
    if settings.connect_secrets or settings.connect_plain_secrets:
        return []
    refusals = []
    if source.password.get_secret_value() and not settings.connect_secret_reference:
        refusals.append(no_secret_way())
    if own := plain_secrets(spec.connector):
        refusals.append(setting_in_clear(own))
    return [Finding(r.code, "error", "connect", r.message, r.guidance) for r in refusals]


def _key_form(settings: Settings, source: ConnectionSpec) -> list[Finding]:
    """Whether pgjdbc can read the client's key, where it lies on Connect's machines and Headrace cannot convert it."""
    if settings.connect_secrets or source.key is None or PEM not in Path(source.key).read_bytes():
        return []
    made = f"openssl pkcs8 -topk8 -nocrypt -in {source.key} -outform DER -out {source.key}.pk8"
    return [
        Finding(
            "connect_key_form",
            "warning",
            "connect",
            f"Kafka Connect reads {source.key} on its own machines, and takes a key as DER in PKCS#8 (of PEM, RSA in "
            "PKCS#8 only)",
            "Make one for both of them; Headrace reads it as well. Certificate and CA may stay PEM, at the same paths.",
            made,
            source.key,
        )
    ]


def _reach(where: Login) -> list[Finding]:
    connect(where).close()
    return []


def _without_excluded(route: Route) -> Table:
    from dataclasses import replace

    kept = {m.source.name for m in route.columns}
    return replace(route.source, columns=tuple(c for c in route.source.columns if c.name in kept))


def _route_findings(routes: Sequence[Route]) -> list[Finding]:
    found: list[Finding] = []
    if not routes:
        found.append(
            Finding(
                "no_tables",
                "error",
                "spec",
                "no table of the source is selected",
                "Check `tables` and `exclude`.",
            )
        )
    for route in routes:
        found += ddl.findings(route)
        if route.where is not None and not route.key:
            found.append(
                Finding(
                    "filter_needs_key",
                    "error",
                    "spec",
                    f"{route.source.name} has a row filter but no key to tell which rows leave it",
                    "Give the table a primary key, or drop the filter.",
                    subject=str(route.source.name),
                )
            )
    found += _same_topics(routes)
    return found


def _masks(route: Route) -> Iterator[Finding]:
    """Masks of a keyless table that an event's value cannot be put through, as whoever decodes events says."""
    if route.key or route.where is not None:
        return
    try:
        Decoder(route, "", lambda _: None)
    except Precondition as error:
        masked = {m.source.name: m for m in route.columns if m.mask and m.source.carriage == "event"}
        named = [masked[c] for c in error.context["columns"] if c in masked]
        if named:
            columns = ", ".join(f"{m.source.name} ({m.source.type}, {m.mask})" for m in named)
            yield Finding(
                error.code,
                "error",
                "spec",
                f"{route.source.name} has no usable key, and {columns} can only be masked by key: the event's "
                "form of such a value is not what the load hashes",
                "Mask these columns by `redact` or `null`, exclude them, or give the table a primary key.",
                checks_source_tables.add_key(route.source),
                str(route.source.name),
            )


def _foreign_keys(spec: PipelineSpec, routes: Sequence[Route]) -> list[Finding]:
    """Tables are applied each for itself, so that foreign keys can only come once writing has ended."""
    statements = ddl.foreign_keys(routes) if spec.constraints == "all" else []
    if not statements:
        return []
    return [
        Finding(
            "foreign_keys_later",
            "info",
            "target",
            f"{len(statements)} foreign keys are not made while the pipeline streams",
            "Run the SQL on the target after the last change has arrived and the pipeline is stopped.",
            fix=";\n".join(s.rstrip(";") for s in statements) + ";",
        )
    ]


def _same_topics(routes: Sequence[Route]) -> list[Finding]:
    from headrace.engines.postgres.capture import topic

    seen: dict[str, TableName] = {}
    found = []
    for route in routes:
        name = topic("p", route.source.name)
        if name in seen:
            found.append(
                Finding(
                    "topic_collision",
                    "error",
                    "spec",
                    f"{route.source.name} and {seen[name]} would share one Kafka topic",
                    "Rename one of the tables, or put them into two pipelines.",
                    subject=str(route.source.name),
                )
            )
        seen.setdefault(name, route.source.name)
    return found
