"""Writing batches into a PostgreSQL target, in bulk: COPY into a temporary table, then set-based statements.

Two ways to merge a keyed batch. ``upsert`` is the fast one; ``replace`` (fill what events left out, delete
the batch's keys, insert) also gets through swapped unique values and moved keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import sql

from headrace.engines.model import MISSING, Key, KeyedBatch, KeylessBatch, Progress, Route
from headrace.engines.postgres import progress as progress_rows
from headrace.engines.postgres.connection import Connection, Login, connect, replica_role, translated
from headrace.engines.postgres.read import equality
from headrace.errors import Precondition

Mode = Literal["upsert", "replace"]


class UniqueViolation(Precondition):
    """A unique index of the target refused the batch; ``replace``, or a longer batch, may get through."""


class MissingRow(Precondition):
    """A row of a keyless table that a change names is not in the target."""


class Target:
    """One connection that applies batches. Not for several threads."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._plans: dict[str, _Statements] = {}
        # Routes whose temporary tables the open transaction has filled.
        self._staged: set[str] = set()
        self._uncommitted: set[str] = set()
        self._numbers = itertools.count()
        self.conn: Connection = connect(
            login,
            name="headrace apply",
            autocommit=False,
            lock_timeout="10s",
            idle_in_transaction_session_timeout="60s",
            enable_hashjoin="off",
            enable_mergejoin="off",
            client_min_messages="warning",
        )
        self.conn.prepare_threshold = None
        # A per cent sign in a name is no placeholder.
        self._raw: psycopg.RawCursor[Any] = psycopg.RawCursor(self.conn)
        self.replica = replica_role(self.conn)

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back by the server."""
        self.conn.close()

    def commit(self) -> None:
        """Commit the batch."""
        self._staged.clear()
        with translated(self._login):
            self.conn.commit()
        self._uncommitted.clear()

    def rollback(self) -> None:
        """Undo the batch; a lost connection is no error here."""
        self._staged.clear()
        # Temporary tables made in the transaction go with it.
        for key in self._uncommitted:
            self._plans.pop(key, None)
        self._uncommitted.clear()
        if not self.conn.closed:
            try:
                self.conn.rollback()
            except psycopg.Error:
                self.conn.close()

    def forget(self, route: Route) -> None:
        """Drop what is prepared for a route: its columns have changed."""
        statements = self._plans.pop(_plan_key(route), None)
        self._uncommitted.discard(_plan_key(route))
        if statements:
            with translated(self._login):
                self.conn.execute(statements.drop)
                self.conn.commit()

    def advance(
        self, progress: Progress, next_offset: int, last_offset: int, last_position: int, ts_ms: int
    ) -> None:
        """Compare-and-set the table's progress; see ``progress.advance``."""
        progress_rows.advance(self.conn, progress, next_offset, last_offset, last_position, ts_ms)

    def truncate(self, route: Route) -> None:
        """Empty the table."""
        with translated(self._login):
            # DELETE where foreign keys point here: TRUNCATE refuses, whatever the replication role.
            referenced = self.conn.execute(
                "SELECT 1 FROM pg_constraint WHERE contype = 'f' AND confrelid ="
                " format('%%I.%%I', %s::text, %s::text)::regclass AND conrelid <> confrelid LIMIT 1",
                [route.target.schema, route.target.name],
            ).fetchone()
            verb = "DELETE FROM {}" if referenced else "TRUNCATE {}"
            self.conn.execute(sql.SQL(verb).format(_ident(route)))

    def apply_keyed(self, route: Route, batch: KeyedBatch, mode: Mode) -> list[Key]:
        """Merge a keyed batch inside the open transaction.

        The answer: keys of partial rows whose row is not in the target, which were left out; the caller
        fetches them from the source and applies them complete. Raises UniqueViolation.
        """
        s = self._staging(route)
        try:
            if mode == "replace" or batch.moved:
                return self._replace(s, batch)
            return self._upsert(s, batch)
        except psycopg.errors.UniqueViolation as error:
            raise UniqueViolation(
                "unique_violation",
                (error.diag.message_primary or str(error)).strip(),
                "Rows that hold the same unique value in the target block the change.",
                {"constraint_name": error.diag.constraint_name, "detail": error.diag.message_detail},
            ) from error
        except psycopg.Error as error:
            with translated(self._login):
                raise error

    def _upsert(self, s: _Statements, batch: KeyedBatch) -> list[Key]:
        if batch.gone:
            self._copy(s.copy_gone, batch.gone)
            self.conn.execute(s.delete_gone)
        if batch.rows:
            self._copy(s.copy_rows, batch.rows)
            self.conn.execute(s.upsert)
        absent: list[Key] = []
        if batch.partial:
            groups = self._stage_partial(s, batch)
            for number, missing in groups.items():
                absent += self._raw.execute(s.absent, [number]).fetchall()
                self._raw.execute(s.update(missing), [number])
        return absent

    def _replace(self, s: _Statements, batch: KeyedBatch) -> list[Key]:
        if batch.rows:
            self._copy(s.copy_rows, batch.rows)
        absent: list[Key] = []
        if batch.partial:
            groups = self._stage_partial(s, batch)
            for number, missing in groups.items():
                absent += self._raw.execute(s.drop_absent, [number]).fetchall()
                self._raw.execute(s.fill(missing), [number])
        if batch.gone:
            self._copy(s.copy_gone, batch.gone)
            self.conn.execute(s.delete_gone)
        self.conn.execute(s.delete_staged)
        self.conn.execute(s.insert)
        return absent

    def _stage_partial(self, s: _Statements, batch: KeyedBatch) -> dict[int, tuple[int, ...]]:
        numbers: dict[tuple[int, ...], int] = {}
        with self.conn.cursor().copy(s.copy_partial) as copy:
            for row, origin in batch.partial:
                missing = tuple(i for i, v in enumerate(row) if v is MISSING)
                number = numbers.setdefault(missing, len(numbers) + 1)
                copy.write_row((*(None if v is MISSING else v for v in row), *origin, number))
        return {number: missing for missing, number in numbers.items()}

    def apply_keyless(self, route: Route, batch: KeylessBatch) -> None:
        """Remove and add rows of a keyless table inside the open transaction.

        Raises MissingRow when a row to remove is not there.
        """
        s = self._staging(route)
        with translated(self._login):
            if batch.removed:
                self._copy(s.copy_counted, ((*row, count) for row, count in batch.removed))
                # The rows are matched by their text: without a hash join that is quadratic.
                self.conn.execute("SET LOCAL enable_hashjoin = on")
                done = self.conn.execute(s.remove)
                wanted = sum(count for _, count in batch.removed)
                if done.rowcount != wanted:
                    raise MissingRow(
                        "row_not_found",
                        f"{wanted - done.rowcount} of {wanted} rows to remove are not in {route.target}",
                        "The target was changed by somebody else; resync the table.",
                    )
            if batch.added:
                rows = (row for row, count in batch.added for _ in range(count))
                self._copy(s.copy_target, rows)

    def _copy(self, statement: sql.Composed, rows: Iterable[Sequence[Any]]) -> None:
        with self.conn.cursor().copy(statement) as copy:
            write = copy.write_row
            for row in rows:
                write(row)

    def _staging(self, route: Route) -> _Statements:
        """The statements of a route, its temporary tables empty: a transaction may come here several times."""
        s = self._statements(route)
        key = _plan_key(route)
        if key in self._staged:
            with translated(self._login):
                for statement in s.clear:
                    self.conn.execute(statement)
        self._staged.add(key)
        return s

    def _statements(self, route: Route) -> _Statements:
        key = _plan_key(route)
        if (found := self._plans.get(key)) is None:
            found = _Statements(route, next(self._numbers))
            with translated(self._login):
                for statement in found.create:
                    self.conn.execute(statement)
            self._plans[key] = found
            self._uncommitted.add(key)
        return found


def _plan_key(route: Route) -> str:
    return f"{route.source.name}\0{route.target}"


def _ident(route: Route) -> sql.Identifier:
    return sql.Identifier(route.target.schema, route.target.name)


def _commas(parts: Iterable[sql.Composable]) -> sql.Composed:
    return _joined(", ", list(parts))


def _joined(glue: LiteralString, parts: list[sql.Composable]) -> sql.Composed:
    return sql.SQL(glue).join(parts)


class _Statements:
    """The statements of one route on one connection."""

    def __init__(self, route: Route, number: int) -> None:
        self._route = route
        self._target = _ident(route)
        self._number = number
        self._stage = sql.Identifier("pg_temp", f"headrace_stage_{number}")
        self._gone = sql.Identifier("pg_temp", f"headrace_gone_{number}")
        self._names = [sql.Identifier(m.target) for m in route.written]
        by_source = {m.source.name: m.target for m in route.written}
        self._keys = [(sql.Identifier(by_source[k]), equality(route.source.column(k))) for k in route.key]
        self._key_targets = {by_source[k] for k in route.key}
        self._origins = [sql.Identifier(f"headrace_o{i}") for i in range(len(self._keys))]
        self._make()

    def _make(self) -> None:
        columns, key_names = _commas(self._names), _commas(k for k, _ in self._keys)
        target, stage, gone = self._target, self._stage, self._gone
        temp_stage, temp_gone = (sql.Identifier(f"headrace_{w}_{self._number}") for w in ("stage", "gone"))
        f = sql.SQL
        extra: list[sql.Composable] = [f("0 AS headrace_group"), f("0 AS headrace_count")]
        extra += [f("{} AS {}").format(k, o) for (k, _), o in zip(self._keys, self._origins, strict=True)]
        self.create = [
            f("CREATE TEMP TABLE {} ON COMMIT DELETE ROWS AS SELECT {}, {} FROM {} WITH NO DATA").format(
                temp_stage, columns, _commas(extra), target
            ),
            f("ALTER TABLE {} ALTER headrace_group SET DEFAULT 0").format(stage),
        ]
        self.copy_target = f("COPY {} ({}) FROM STDIN").format(target, columns)
        self.copy_rows = f("COPY {} ({}) FROM STDIN").format(stage, columns)
        self.copy_counted = f("COPY {} ({}, headrace_count) FROM STDIN").format(stage, columns)
        self.drop = f("DROP TABLE {}").format(stage)
        self.clear = [f("DELETE FROM {}").format(stage)]
        if not self._keys:
            self._make_keyless(columns)
            return
        self.create.append(
            f("CREATE TEMP TABLE {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA").format(
                temp_gone, key_names, target
            )
        )
        self.drop = f("DROP TABLE {}, {}").format(stage, gone)
        self.clear.append(f("DELETE FROM {}").format(gone))
        self.copy_gone = f("COPY {} ({}) FROM STDIN").format(gone, key_names)
        self.copy_partial = f("COPY {} ({}, {}, headrace_group) FROM STDIN").format(
            stage, columns, _commas(self._origins)
        )
        same = self._same("t", "s")
        self.delete_gone = f("DELETE FROM {} t USING {} s WHERE {}").format(target, gone, same)
        self.delete_staged = f("DELETE FROM {} t USING {} s WHERE {}").format(target, stage, same)
        self.insert = f("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
            target, columns, columns, stage
        )
        self.upsert = self._upsert(columns, key_names)
        at_origin = self._same("t", "s", origin=True)
        self.absent = f(
            "SELECT {} FROM {} s WHERE headrace_group = $1 AND NOT EXISTS (SELECT 1 FROM {} t WHERE {})"
        ).format(self._as_text("s"), stage, target, at_origin)
        self.drop_absent = f(
            "DELETE FROM {} s WHERE headrace_group = $1 AND NOT EXISTS (SELECT 1 FROM {} t WHERE {})"
            " RETURNING {}"
        ).format(stage, target, at_origin, self._as_text("s"))

    def _make_keyless(self, columns: sql.Composed) -> None:
        f = sql.SQL
        as_row = [f("ROW({})::text").format(_commas(self._qualified(a))) for a in ("t", "s")]
        # tableoid as well: under a partitioned table a ctid alone names a row in each partition.
        self.remove = f(
            "WITH wanted AS (SELECT {text} AS r, sum(s.headrace_count) AS n FROM {stage} s GROUP BY 1),"
            " found AS (SELECT t.tableoid AS o, t.ctid AS c,"
            " row_number() OVER (PARTITION BY w.r) AS i, w.n FROM {target} t JOIN wanted w ON {mine} = w.r)"
            " DELETE FROM {target} t USING found"
            " WHERE t.tableoid = found.o AND t.ctid = found.c AND found.i <= found.n"
        ).format(text=as_row[1], stage=self._stage, target=self._target, mine=as_row[0])

    def _qualified(self, alias: Literal["t", "s"]) -> list[sql.Composable]:
        return [sql.SQL("{}.{}").format(sql.SQL(alias), n) for n in self._names]

    def _upsert(self, columns: sql.Composed, key_names: sql.Composed) -> sql.Composed:
        f = sql.SQL
        rest = [sql.Identifier(m.target) for m in self._route.written if m.target not in self._key_targets]
        action = (
            f("UPDATE SET {}").format(_commas(f("{} = excluded.{}").format(n, n) for n in rest))
            if rest
            else f("NOTHING")
        )
        return f(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} WHERE headrace_group = 0"
            " ON CONFLICT ({}) DO {}"
        ).format(self._target, columns, columns, self._stage, key_names, action)

    def update(self, missing: tuple[int, ...]) -> sql.Composed:
        """Update the rows of a group, leaving the missing columns as they are."""
        f = sql.SQL
        given = [n for i, n in enumerate(self._names) if i not in missing]
        return f("UPDATE {} t SET {} FROM {} s WHERE s.headrace_group = $1 AND {}").format(
            self._target,
            _commas(f("{} = s.{}").format(n, n) for n in given),
            self._stage,
            self._same("t", "s", origin=True),
        )

    def fill(self, missing: tuple[int, ...]) -> sql.Composed:
        """Take the missing columns of a group's staged rows from their rows in the target."""
        f = sql.SQL
        return f("UPDATE {} s SET {} FROM {} t WHERE s.headrace_group = $1 AND {}").format(
            self._stage,
            _commas(f("{} = t.{}").format(self._names[i], self._names[i]) for i in missing),
            self._target,
            self._same("t", "s", origin=True),
        )

    def _same(self, left: str, right: str, origin: bool = False) -> sql.Composed:
        f = sql.SQL
        pairs = zip(self._keys, self._origins, strict=True)
        parts: list[sql.Composable] = [
            f("{}.{} {} {}.{}").format(f(left), k, eq, f(right), o if origin else k) for (k, eq), o in pairs
        ]
        return _joined(" AND ", parts)

    def _as_text(self, alias: str) -> sql.Composed:
        f = sql.SQL
        return _commas(f("{}.{}::text").format(f(alias), k) for k, _ in self._keys)


def install(login: Login) -> None:
    """Make Headrace's own tables in the target."""
    with connect(login) as conn:
        progress_rows.install(conn)
