"""Writers of the soak: connections that change random tables in every way PostgreSQL knows."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg

from support.soak_schema import Col, Table

Conn = psycopg.Connection[Any]

# Refusals that writers who step on each other's toes get: they try something else.
EXPECTED = (
    "23505",
    "40001",
    "40P01",
    "55P03",
    "57014",
    "22",
    "23502",
    "25P02",
    "57P",
    "08",
    "42701",
    "23514",
    "0A000",
)


class Writers:
    """Several connections that write until stopped; ``rest`` lets each finish its transaction and wait."""

    def __init__(self, conninfo: str, tables: list[Table], seed: int, count: int, pace: float) -> None:
        self._conninfo, self.tables, self._pace = conninfo, tables, pace
        self._go, self._stop = threading.Event(), threading.Event()
        self._idle = [threading.Event() for _ in range(count)]
        self.lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.columns_left = 8
        self._threads = [
            threading.Thread(target=self._run, args=(i, random.Random(f"{seed}/{i}")), daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def go(self) -> None:
        """Write."""
        for idle in self._idle:
            idle.clear()
        self._go.set()

    def rest(self, seconds: float = 60) -> None:
        """Wait until nobody has a transaction open."""
        self._go.clear()
        for idle in self._idle:
            assert idle.wait(seconds), "a writer does not come to rest"

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join(60)

    def next(self, table: Table, count: int = 1) -> int:
        """The first of so many numbers that no row of the table has had."""
        with self.lock:
            table.serial += count
            return table.serial - count + 1

    def _run(self, number: int, rng: random.Random) -> None:
        conn: Conn | None = None
        while not self._stop.is_set():
            if not self._go.is_set():
                if conn is not None:
                    conn.close()
                    conn = None
                self._idle[number].set()
                self._go.wait()
                continue
            try:
                if conn is None or conn.closed:
                    conn = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5)
                    conn.execute("SET lock_timeout = '3s'; SET statement_timeout = '30s'")
                    conn.execute("SELECT set_config('search_path', 'public', false)")
                    # What this writer prepared when its server was killed would hold up every cut for ever.
                    mine = conn.execute(
                        "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s", [f"soak_{number}_%"]
                    )
                    for (gid,) in mine.fetchall():
                        conn.execute(f"ROLLBACK PREPARED '{gid}'".encode())
                Hand(self, conn, rng, number).transaction()
            except psycopg.Error as error:
                self._note(error)
                if conn is not None:
                    conn.close()
                    conn = None
            time.sleep(rng.expovariate(1 / self._pace))
        if conn is not None:
            conn.close()
        self._idle[number].set()

    def _note(self, error: psycopg.Error) -> None:
        state = error.sqlstate or "08000"
        self.refused[state] += 1
        if not state.startswith(EXPECTED):
            self.wrong.append(f"{state} {error}"[:400])


class Hand:
    """One transaction of one writer."""

    def __init__(self, writers: Writers, conn: Conn, rng: random.Random, number: int) -> None:
        self.w, self.conn, self.rng, self.number = writers, conn, rng, number

    def transaction(self) -> None:
        """Begin, do some things, and end in one of several ways."""
        rng = self.rng
        if rng.random() < 0.006:
            self._add_column()
            return
        big = rng.random() < 0.01
        doings = [self._pick() for _ in range(rng.choice([1, 1, 2, 3, 6]))]
        self.conn.execute("BEGIN" if rng.random() < 0.9 else "BEGIN ISOLATION LEVEL REPEATABLE READ")
        try:
            if rng.random() < 0.1:
                self.conn.execute("SET LOCAL synchronous_commit = off")
            for doing in doings:
                self._one(doing)
            if big:
                for table in rng.sample(self.w.tables, min(3, len(self.w.tables))):
                    self._bulk(table)
            self._end()
        except psycopg.Error:
            if not self.conn.closed:
                self.conn.execute("ROLLBACK")
            raise
        self.w.done.update(d.__name__ for d in doings)

    def _one(self, doing: Callable[[Table], None]) -> None:
        table = self.rng.choice(self.w.tables)
        how = self.rng.random()
        self.conn.execute("SAVEPOINT s")
        try:
            doing(table)
        except psycopg.Error as error:
            if self.conn.closed:
                raise
            self.w._note(error)
            self.conn.execute("ROLLBACK TO s")
            return
        if how < 0.12:
            self.conn.execute("ROLLBACK TO s")
        elif how < 0.9:
            self.conn.execute("RELEASE s")

    def _end(self) -> None:
        how = self.rng.random()
        if how < 0.06:
            self.conn.execute("ROLLBACK")
        elif how < 0.1:
            name = f"soak_{self.number}_{self.rng.getrandbits(40)}"
            self.conn.execute(f"PREPARE TRANSACTION '{name}'".encode())
            time.sleep(self.rng.random() * 0.2)
            verb = "ROLLBACK" if self.rng.random() < 0.2 else "COMMIT"
            self.conn.execute(f"{verb} PREPARED '{name}'".encode())
        else:
            self.conn.execute("COMMIT")

    def _pick(self) -> Callable[[Table], None]:
        weights = {
            self.insert: 22, self.update: 22, self.small_update: 10, self.same: 5, self.rekey: 7, self.swap_unique: 6,
            self.swap_keys: 5, self.delete: 10, self.again: 7, self.truncate: 0.4, self.copy: 2, self.upsert: 4,
            self.chain: 3, self.hot: 6,
        }  # fmt: skip
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def _sql(self, statement: str) -> Any:
        return self.conn.execute(statement.encode())

    def _names(self, table: Table) -> str:
        return ", ".join(c.sql for c in table.written)

    def _some(self, table: Table, most: int) -> str:
        """A condition for up to so many rows."""
        if table.keys and self.rng.random() < 0.5:
            n = self.rng.randint(max(1, table.serial - 400), max(table.serial, 1))
            return table.where(str(n))
        return f"ctid = ANY(ARRAY(SELECT ctid FROM {table.sql} ORDER BY random() LIMIT {self.rng.randint(1, most)}))"

    def insert(self, table: Table) -> None:
        count = self.rng.choice([1, 1, 3, 20])
        first = self.w.next(table, count)
        for n in range(first, first + count):
            self._sql(
                f"INSERT INTO {table.sql} ({self._names(table)}) VALUES ({table.values(self.rng, str(n))})"
            )

    def upsert(self, table: Table) -> None:
        if not table.keys or not table.cols:
            return
        n = self.rng.randint(max(1, table.serial - 100), table.serial + 1)
        key = ", ".join(c.sql for c, _ in table.keys)
        self._sql(
            f"INSERT INTO {table.sql} ({self._names(table)}) VALUES ({table.values(self.rng, str(n))})"
            f" ON CONFLICT ({key}) DO UPDATE SET {self._changes(table)}"
        )

    def _changes(self, table: Table) -> str:
        chosen: list[Col] = self.rng.sample(table.cols, self.rng.randint(1, len(table.cols)))
        return ", ".join(f"{c.sql} = {c.pick(self.rng)}" for c in chosen)

    def update(self, table: Table) -> None:
        if table.cols:
            self._sql(f"UPDATE {table.sql} SET {self._changes(table)} WHERE {self._some(table, 20)}")

    def small_update(self, table: Table) -> None:
        """Leaves everything that is large as it is."""
        if table.cols:
            self._sql(f"UPDATE {table.sql} SET w = {self.rng.randint(1, 9)} WHERE {self._some(table, 30)}")

    def hot(self, table: Table) -> None:
        """The same row again and again, with and without its large values."""
        if not table.keys or not table.cols:
            return
        n = max(table.serial - self.rng.randint(0, 3), 1)
        for _ in range(self.rng.randint(2, 5)):
            change = self._changes(table) if self.rng.random() < 0.4 else "w = coalesce(w, 0) % 1000 + 1"
            self._sql(f"UPDATE {table.sql} SET {change} WHERE {table.where(str(n))}")

    def same(self, table: Table) -> None:
        column = self.rng.choice(table.written).sql
        self._sql(f"UPDATE {table.sql} SET {column} = {column} WHERE {self._some(table, 10)}")

    def rekey(self, table: Table) -> None:
        """A row gets another key."""
        if not table.keys:
            return
        old, new = self.rng.randint(1, max(table.serial, 1)), self.w.next(table)
        self._move(table, str(old), str(new), self.rng.random() < 0.4)

    def _move(self, table: Table, old: str, new: str, more: bool = False) -> None:
        given = ", ".join(f"{c.sql} = {e.format(n=new)}" for c, e in table.keys)
        if more and table.cols:
            given += ", " + self._changes(table)
        self._sql(f"UPDATE {table.sql} SET {given} WHERE {table.where(old)}")

    def swap_keys(self, table: Table) -> None:
        if not table.keys:
            return
        a, b = (self.rng.randint(1, max(table.serial, 2)) for _ in "ab")
        spare = str(self.w.next(table))
        self._move(table, str(a), spare)
        self._move(table, str(b), str(a), self.rng.random() < 0.3)
        self._move(table, spare, str(b))

    def chain(self, table: Table) -> None:
        """Keys move up by one, the highest first; each large value stays with its row."""
        if not table.keys:
            return
        top = self.w.next(table)
        for n in range(top - 1, max(top - 6, 0), -1):
            self._move(table, str(n), str(n + 1))

    def swap_unique(self, table: Table) -> None:
        if not table.unique:
            return
        column = self.rng.choice(table.unique).sql
        rows = self._sql(
            f"SELECT {column} FROM {table.sql} WHERE {column} IS NOT NULL ORDER BY random() LIMIT 2 FOR UPDATE"
        ).fetchall()
        if len(rows) < 2:
            return
        (a,), (b,) = rows
        if self.rng.random() < 0.5:
            self._sql(
                f"UPDATE {table.sql} SET {column} = CASE {column} WHEN {a} THEN {b} ELSE {a} END"
                f" WHERE {column} IN ({a}, {b})"
            )
        else:
            self._sql(f"UPDATE {table.sql} SET {column} = -{abs(a)} - 1000000000 WHERE {column} = {a}")
            self._sql(f"UPDATE {table.sql} SET {column} = {a} WHERE {column} = {b}")
            self._sql(f"UPDATE {table.sql} SET {column} = {b} WHERE {column} = -{abs(a)} - 1000000000")

    def delete(self, table: Table) -> None:
        self._sql(f"DELETE FROM {table.sql} WHERE {self._some(table, 10)}")

    def again(self, table: Table) -> None:
        """Deleted and inserted in one transaction: the same row, or another with its key."""
        names = self._names(table)
        rows = self._sql(
            f"DELETE FROM {table.sql} WHERE {self._some(table, 5)} RETURNING"
            f" {', '.join(_printed(c) for c in table.written)}"
        ).fetchall()
        kept = len(table.keys) + len(table.unique)
        for row in rows:
            values = [_literal(v, c.type) for v, c in zip(row, table.written, strict=True)]
            if self.rng.random() < 0.5:
                values[kept:] = [c.pick(self.rng) for c in table.cols]
            self._sql(f"INSERT INTO {table.sql} ({names}) VALUES ({', '.join(values)})")

    def truncate(self, table: Table) -> None:
        if table.truncates:
            self._sql(f"TRUNCATE {table.sql}")

    def copy(self, table: Table) -> None:
        count = self.rng.choice([5, 200])
        first = self.w.next(table, count)
        values = ", ".join(_print_of(v) for v in self._values(table))
        rows = self._sql(f"SELECT {values} FROM generate_series({first}, {first + count - 1}) g").fetchall()
        with self.conn.cursor().copy(f"COPY {table.sql} ({self._names(table)}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def _values(self, table: Table) -> list[str]:
        keys = [e.format(n="g") for _, e in table.keys] + ["g::bigint" for _ in table.unique]
        return keys + [c.pick(self.rng) for c in table.cols]

    def _bulk(self, table: Table) -> None:
        """Many rows at once: new ones, then changes over all."""
        count = self.rng.choice([200, 600])
        first = self.w.next(table, count)
        self._sql(
            f"INSERT INTO {table.sql} ({self._names(table)}) SELECT {table.values(self.rng, 'g')}"
            f" FROM generate_series({first}, {first + count - 1}) g"
        )
        if table.cols and self.rng.random() < 0.5:
            self._sql(f"UPDATE {table.sql} SET {self._changes(table)} WHERE {self._some(table, 400)}")
        if self.rng.random() < 0.7:
            self._sql(
                f"DELETE FROM {table.sql} WHERE ctid IN (SELECT ctid FROM {table.sql} ORDER BY random() LIMIT {count})"
            )

    def _add_column(self) -> None:
        with self.w.lock:
            if self.w.columns_left <= 0:
                return
            self.w.columns_left -= 1
            number = self.w.columns_left
        table = self.rng.choice([t for t in self.w.tables if t.cols])
        column = Col(
            f"added {number}", *self.rng.choice([("text", ("'x'", "'y'")), ("int4[]", ("'{}'", "'{1,2}'"))])
        )  # type: ignore[arg-type]
        if not table.keys:
            column = Col(f"added {number}", "text", ("'x'", "'y'"))
        default = self.rng.choice(
            ["", "", f" DEFAULT {column.values[0]}", f" NOT NULL DEFAULT {column.values[1]}"]
        )
        if column.type == "text":
            default = self.rng.choice([default, " DEFAULT md5(random()::text)"])
        self._sql(f"ALTER TABLE {table.sql} ADD COLUMN {column.sql} {column.type}{default}")
        if self.rng.random() < 0.4:
            # As Django adds a column: the existing rows have got a default that is gone.
            self._sql(f"ALTER TABLE {table.sql} ALTER COLUMN {column.sql} DROP DEFAULT")
        column.nullable = "NOT NULL" not in default
        table.cols.append(column)
        self.w.done[f"add column{default}"] += 1


def _printed(column: Col) -> str:
    return _print_of(column.sql)


def _print_of(value: str) -> str:
    # A cast to text trims char(n), and a user may have made his own.
    return f"CASE WHEN ({value}) IS NOT DISTINCT FROM NULL THEN NULL ELSE concat({value}) END"


def _literal(value: str | None, type_: str) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + f"'::{type_}"
