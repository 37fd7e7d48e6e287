"""Report, spool and certificate."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from headrace.engines.compare import Key
from headrace.engines.model import Cut, TableName
from headrace.errors import NotFound, Precondition
from headrace.verify.certificate import CertifiedTable, build, check_seal, lsn
from headrace.verify.report import Report, TableReport, Totals
from headrace.verify.spool import Spool

USERS = TableName("public", "users")


def table(**more: object) -> TableReport:
    fields = {"source": Totals(2, 7), "target": Totals(2, 7), **more}
    return TableReport(USERS, TableName("crm", "users"), 100, **fields)  # type: ignore[arg-type]


def test_equal_needs_something_compared_and_nothing_failed() -> None:
    assert Report([table()], 100).equal
    assert not Report([], 100).equal
    assert not Report([table(), table(error={"code": "x", "message": "y"})], 100).equal
    assert not Report([table(differences_total=1)], 100).equal
    assert not Report([table(target=Totals(2, 8))], 100).equal


def test_unsettled_is_neither_equal_counted_nor_a_difference() -> None:
    report = Report([table(unsettled_total=1, unsettled=[{"id": "1"}])], 100)
    assert report.equal
    assert not report.settled
    assert report.as_dict()["tables"][0]["unsettled_total"] == 1


def test_keys_to_repair() -> None:
    two = [{"id": "1"}, {"id": "2"}]
    assert Report([table(differences_total=2, repair=two)], 1).keys_to_repair(USERS) == two
    assert Report([table(repair=None)], 1).keys_to_repair(USERS) == []
    for repair in (None, two):
        with pytest.raises(Precondition):
            Report([table(differences_total=3, repair=repair)], 1).keys_to_repair(USERS)
    with pytest.raises(NotFound):
        Report([], 1).keys_to_repair(USERS)


def test_spool_gives_back_what_it_got_from_memory_and_from_disk() -> None:
    keys: list[Key] = [(f'"{n}\n,\\ü', "x" * 100) for n in range(50_000)]
    with Spool() as spool:
        spool.add(keys[:10])
        spool.add(keys[10:])
        batches = list(spool.batches(15_000))
    assert [len(b) for b in batches] == [15_000, 15_000, 15_000, 5_000]
    assert [k for b in batches for k in b] == keys


CUT = Cut("100:105:101,103", 0x16_B374D848, "7300000000000000001/1", "2026-01-01T00:00:00+00:00")
FACTS = {"name": "shop", "generation": "g1", "versions": {"headrace": "0.1.0"}, "password": "secret"}


def test_certificate_states_cut_and_counts_and_is_sealed() -> None:
    verified = Report([table()], 100).table(USERS).as_dict()
    tables = [CertifiedTable(USERS, TableName("crm", "users"), "live", "g1", 2, CUT, None, verified)]
    certificate = build(FACTS, tables, issued_at="2026-01-02T00:00:00+00:00")
    assert certificate["equal"] is verified["equal"]
    (entry,) = certificate["tables"]
    assert entry["cut"]["position"] == "16/B374D848" == lsn(CUT.position)
    assert entry["cut"]["snapshot"] == CUT.snapshot
    assert entry["rows_loaded"] == 2
    assert entry["verification"]["source_rows"] == 2
    assert "secret" not in json.dumps(certificate)
    assert check_seal(certificate)
    assert check_seal(json.loads(json.dumps(certificate)))


def test_an_altered_certificate_is_told() -> None:
    tables = [CertifiedTable(USERS, USERS, "live", "g1", 2, CUT)]
    certificate = build(FACTS, tables, issued_at="now")
    assert certificate["tables"][0]["verification"] is None
    assert certificate["equal"] is None
    other = build(FACTS, [replace(tables[0], rows_loaded=3)], issued_at="now")
    assert not check_seal({**certificate, "tables": other["tables"]})
    assert not check_seal({**certificate, "more": 1})
    assert not check_seal({k: v for k, v in certificate.items() if k != "seal"})
