"""A source and a target database, and how a test brings one's tables to the other."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.engines.model import Mapped, Route, Table, TableName
from headrace.engines.postgres import catalog, ddl
from headrace.engines.postgres.connection import Connection


def route(table: Table, target: TableName | None = None, **changes: dict[str, str]) -> Route:
    """A route of every column. changes: ``renamed`` and ``masked`` by column, ``without`` as keys."""
    renamed, masked = changes.get("renamed", {}), changes.get("masked", {})
    kept = [c for c in table.columns if c.name not in changes.get("without", {})]
    mapped = tuple(Mapped(c, renamed.get(c.name, c.name), masked.get(c.name)) for c in kept)
    return Route(table, target or table.name, mapped)


@dataclass
class Pair:
    """A source and a target database. source, target: their owner's connections; reader: an ordinary user's."""

    source: Connection
    target: Connection
    reader: Connection

    def tables(self) -> dict[str, Table]:
        """The source's tables by bare name, as the ordinary user sees them."""
        return {t.name.name: t for t in catalog.describe(self.reader)}

    def routes(self) -> list[Route]:
        """A route for each table, to the same name."""
        return [route(table) for table in self.tables().values()]

    def run(self, statements: list[str]) -> None:
        """Execute on the target."""
        for statement in statements:
            self.target.execute(statement)

    def create(self, routes: list[Route], name: TableName | None = None) -> None:
        """Make everything on the target, in the order of a load; with ``name``, as a shadow."""
        self.run(ddl.prerequisites(self.reader, self.target, routes))
        known = ddl.facts(self.target)
        for each in routes:
            self.run(ddl.create_table(each, name, known=known))
            self.run(ddl.indexes(each, name, known=known))
            self.run(ddl.checks_constraints(each, name, known=known))
