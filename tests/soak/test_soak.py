"""Random tables, random writers, random faults; again and again both sides are compared by the test's own SQL.

HEADRACE_SOAK_SEED gives the same tables and the same order of doings again (what meets what is up to the machine);
HEADRACE_SOAK_MINUTES is how long to go on, 30 by default; HEADRACE_SOAK_FAULTS names some faults, all by default.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from typing import Any

import psycopg
import pytest

from scenarios.type_values import PREPARE
from support.lab import CANARY, Lab, Pair, dsn, until
from support.soak_audit import Audit
from support.soak_faults import Faults
from support.soak_schema import Table, schema
from support.soak_writers import Writers

PATIENCE = 200.0


class Soak:
    """One run. problems: what should not have been, in the order it was found."""

    def __init__(self, lab: Lab, pair: Pair, seed: int) -> None:
        self.lab, self.pair, self.seed = lab, pair, seed
        self.rng = random.Random(seed)
        self.tables = schema(self.rng, self.rng.randint(8, 15))
        self.problems: list[str] = []
        self.checks = 0
        self.born = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.born:6.1f}] {text}", flush=True)

    def problem(self, text: str) -> None:
        self.problems.append(text)
        self.say(f"PROBLEM {text}")

    def make(self) -> None:
        self.pair.src.execute(PREPARE.encode())
        self.pair.src.execute('CREATE SCHEMA "Soak Two"; CREATE SCHEMA "sünk"')
        self.pair.src.execute(CANARY)
        for table in self.tables:
            for statement in table.ddl:
                try:
                    self.pair.src.execute(statement.encode())
                except psycopg.Error as error:
                    raise AssertionError(f"{error}\n{statement}") from error

    def run(self, minutes: float) -> dict[str, Any]:
        end = time.monotonic() + minutes * 60
        self.make()
        writers = Writers(
            dsn(self.lab.source, self.pair.name), self.tables, self.seed, self.rng.randint(2, 4), 0.2
        )
        faults = Faults(self.lab, self.pair, self.tables, random.Random(self.seed + 1))
        try:
            writers.go()
            self.pair.apply(wait=None)
            while time.monotonic() < end:
                self.round(writers, faults)
                if len(self.problems) > 8:
                    break
        finally:
            writers.stop()
        for text in writers.wrong[:5]:
            self.say(f"refused {text}")
        return {
            "seed": self.seed,
            "minutes": minutes,
            "tables": len(self.tables),
            "checks": self.checks,
            "problems": len(self.problems),
            "writes": dict(writers.done),
            "refused": dict(writers.refused),
            "faults": dict(faults.done),
        }

    def round(self, writers: Writers, faults: Faults) -> None:
        writers.go()
        injected = []
        for _ in range(self.rng.randint(1, 5)):
            time.sleep(self.rng.random() * 5)
            injected.append(faults.one())
        self.say(f"faults: {', '.join(injected)}")
        if self.rng.random() < 0.3:
            time.sleep(1)
            self.verify("while it moves")
        writers.rest()
        self.finish_prepared()
        self.check(faults)

    def finish_prepared(self) -> None:
        """A killed source keeps what was prepared."""
        with psycopg.connect(dsn(self.lab.source, self.pair.name), autocommit=True) as conn:
            for (name,) in conn.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
            ):
                verb = "COMMIT" if self.rng.random() < 0.5 else "ROLLBACK"
                conn.execute(f"{verb} PREPARED '{name}'".encode())

    def check(self, faults: Faults) -> None:
        self.checks += 1
        began = time.monotonic()
        try:
            until(self.settled, PATIENCE, "incremental")
        except AssertionError as error:
            self.problem(f"does not become incremental: {error}")
            self.tell()
        self.pair.connect()
        audit = Audit(self.lab, self.pair, self.tables)
        left = audit.equal(PATIENCE)
        for table in left:
            self.problem(f"differs: {audit.explain(table)}")
        if left:
            self.tell()
            self.mend(left, faults)
            return
        self.say(f"equal after {time.monotonic() - began:.1f} s")
        if self.rng.random() < 0.3:
            self.verify("at rest")

    def settled(self) -> bool:
        status = self.status()
        assert status.get("status") != "error", status["error"]
        return status["phase"] == "incremental" and all(
            t["state"] in ("live", "paused", "error") for t in status["tables"]
        )

    def status(self) -> Any:
        answer = self.lab.api("GET", f"/pipelines/{self.pair.name}/status")
        return answer.json() if answer.is_success else {"phase": None, "tables": [], "error": answer.text}

    def halted(self) -> list[dict[str, Any]]:
        return [t for t in self.status()["tables"] if t["state"] in ("paused", "error")]

    def mend(self, tables: list[Table], faults: Faults) -> None:
        for table in tables:
            faults.load_again(table)

    def tell(self) -> None:
        status = self.status()
        self.say(f"status {status.get('status')} {status['phase']} {status.get('error')} {status.get('lag')}")
        for table in status["tables"]:
            if table["state"] != "live" or table["error"]:
                self.say(f"  {table['name']!r}: {table['state']} {table['error']}")
        answer = self.lab.api("GET", f"/pipelines/{self.pair.name}/logs?limit=40")
        for line in answer.json()["items"] if answer.is_success else []:
            self.say(f"  log {line.get('at', '')} {line['level']} {line['message'][:300]}")

    def verify(self, when: str) -> None:
        done = self.lab.run("verify", self.pair.name, "--json")
        tables = json.loads(done.stdout)["tables"] if done.returncode in (0, 6) else []
        differ = [t for t in tables if t.get("differences_total") or (t.get("error") and when == "at rest")]
        if differ or (done.returncode and when == "at rest"):
            shown = json.dumps(differ)[:2000] or f"{done.stdout} {done.stderr}"[:500]
            self.problem(f"verify {when} says {done.returncode}: {shown}")
        else:
            self.say(f"verify {when}: {done.returncode}")


@pytest.mark.full
@pytest.mark.timeout(0)
def test_soak(lab: Lab, pair: Pair) -> None:
    seed = int(os.environ.get("HEADRACE_SOAK_SEED") or secrets.randbelow(10**6))
    minutes = float(os.environ.get("HEADRACE_SOAK_MINUTES") or 30)
    print(f"\nHEADRACE_SOAK_SEED={seed} HEADRACE_SOAK_MINUTES={minutes}", flush=True)
    soak = Soak(lab, pair, seed)
    print(json.dumps(soak.run(minutes)), flush=True)
    for table in soak.halted():
        soak.problem(f"{table['name']} is {table['state']}: {table['error']}")
    assert not soak.problems, "\n".join(soak.problems)
