"""Tables and columns chosen, renamed, masked and filtered: the same through load and stream."""

from __future__ import annotations

import psycopg
import pytest

from support.lab import Pair

PEOPLE = """
CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE SCHEMA hr; CREATE SCHEMA "Other Schema";
CREATE TABLE hr.people (id int PRIMARY KEY, secret text, kept text, country text, body text, list int[]);
ALTER TABLE hr.people ALTER body SET STORAGE EXTERNAL;
INSERT INTO hr.people SELECT i, 'ssn' || i, 'k' || i, (ARRAY['DE', 'FR', NULL])[i % 3 + 1], repeat('body' || i, 2000), ARRAY[i]
  FROM generate_series(1, 30) i;
CREATE TABLE hr.only_two (id int PRIMARY KEY, a text, b text, c text);
INSERT INTO hr.only_two SELECT i, 'a' || i, 'b', 'c' FROM generate_series(1, 5) i;
CREATE TABLE hr.audit_log (id int PRIMARY KEY); INSERT INTO hr.audit_log VALUES (1);
CREATE TABLE "Other Schema"."Left Out" (id int PRIMARY KEY);
CREATE TABLE german (id int PRIMARY KEY, v text, country text, big text);
ALTER TABLE german ALTER big SET STORAGE EXTERNAL;
INSERT INTO german SELECT id, kept, country, body FROM hr.people;
CREATE TABLE by_size (id int PRIMARY KEY, v text, big text); ALTER TABLE by_size ALTER big SET STORAGE EXTERNAL;
INSERT INTO by_size SELECT id, kept, body FROM hr.people;
CREATE TABLE named_after (id int PRIMARY KEY, kept text, country text);
INSERT INTO named_after SELECT id, kept, country FROM hr.people;
CREATE TABLE hush (id int PRIMARY KEY, b bool, t text, v varchar(90), c char(70), n int8, u uuid, d date, bt bytea, j json,
  ci citext, m mood, nu numeric, f float8, ts timestamptz, i inet, iv interval, jb jsonb, arr int[], r int4range, mo money,
  bi bit(9), red text, nul text, nuli int, w int DEFAULT 0);
CREATE TABLE hush_keyless (t text, b bool, n int, w int);
"""

HUSH = "b t v c n u d bt j ci m nu f ts i iv jb arr r mo bi".split()
ROWS = """
INSERT INTO hush SELECT {at} + i, i % 2 = 0, 'é' || i, 'v' || i, 'c' || i, -i, gen_random_uuid(), date '2020-01-01' + i,
  decode('00ff0' || i, 'hex'), '{{"a":  1}}', 'MiX', 'ok', i / 10000000000.0, i / 3.0, now(), '1.2.3.4', '-1 mon 2 days 00:00:01.5',
  '{{"b": 1}}', ARRAY[i], int4range(1, i + 1), i, i::bit(9), 'red', 'nul', 7, 0 FROM generate_series(1, 3) i;
INSERT INTO hush (id) VALUES ({at});
INSERT INTO hush_keyless SELECT 'x' || i, i % 2 = 0, i, {at} FROM generate_series(1, 3) i; INSERT INTO hush_keyless VALUES (NULL)
"""


def tables() -> list[object]:
    return [
        {
            "name": "hr.people",
            "target": "crm.persons",
            "columns": {"exclude": ["secret"]},
            "mask": {"country": "redact"},
        },
        {"name": "hr.only_two", "target": "crm.*", "columns": {"include": ["id", "b"]}},
        {"name": "hr.audit_*"},
        {"name": "public.german", "where": "country = 'DE'"},
        {"name": "public.by_size", "where": "length(big) > 10 AND v IS DISTINCT FROM 'out'"},
        {"name": "public.named_after", "where": "country <> 'FR'", "columns": {"exclude": ["country"]}},
        {
            "name": "public.hush",
            "mask": {**dict.fromkeys(HUSH, "sha256"), "red": "redact", "nul": "null", "nuli": "null"},
            "target": "public.hushed",
        },
        {"name": "public.hush_keyless", "mask": {"t": "sha256", "b": "sha256", "n": "sha256"}},
    ]


CREATE = (
    "CREATE TABLE hushed (id int PRIMARY KEY, "
    + ", ".join(f"{c} text" for c in HUSH)
    + ", red text, nul text, nuli int, w int);"
    "CREATE TABLE hush_keyless (t text, b text, n text, w int)"
)

# What the target has to hold, in the words of the source.
EXPECTED = {
    "crm.persons": "SELECT id, kept, CASE WHEN country IS NOT NULL THEN '***' END AS country, body, list FROM hr.people",
    "crm.only_two": "SELECT id, b FROM hr.only_two",
    "german": "SELECT * FROM german WHERE country = 'DE'",
    "by_size": "SELECT * FROM by_size WHERE length(big) > 10 AND v IS DISTINCT FROM 'out'",
    "named_after": "SELECT id, kept FROM named_after WHERE country <> 'FR'",
    "hushed": "SELECT id, "
    + ", ".join(
        f"CASE WHEN {c} IS NOT NULL THEN encode(sha256(convert_to(concat({c}), 'UTF8')), 'hex') END AS {c}"
        for c in HUSH
    )
    + ", CASE WHEN red IS NOT NULL THEN '***' END AS red, NULL AS nul, NULL AS nuli, w FROM hush",
    "hush_keyless": "SELECT encode(sha256(convert_to(t, 'UTF8')), 'hex') AS t,"
    " encode(sha256(convert_to(CASE WHEN b THEN 't' WHEN NOT b THEN 'f' END, 'UTF8')), 'hex') AS b,"
    " encode(sha256(convert_to(n::text, 'UTF8')), 'hex') AS n, w FROM hush_keyless",
}

CHANGES = """
UPDATE hr.people SET secret = 'other' WHERE id < 5; UPDATE hr.people SET kept = 'K' WHERE id < 8;
UPDATE hr.people SET country = 'XX', list = list || 1 WHERE id < 3; DELETE FROM hr.people WHERE id = 30;
UPDATE hr.people SET id = 100 WHERE id = 1
--
UPDATE hr.only_two SET a = 'left out'; UPDATE hr.only_two SET b = NULL WHERE id = 1; INSERT INTO hr.only_two VALUES (9, 'a', 'b9')
--
UPDATE german SET country = 'FR' WHERE id IN (3, 6)
--
UPDATE german SET country = 'DE' WHERE id IN (1, 2); UPDATE german SET country = NULL WHERE id = 9
--
UPDATE german SET v = 'still' WHERE id > 10; UPDATE german SET id = id + 100 WHERE id IN (12, 13, 15);
INSERT INTO german VALUES (500, 'x', 'DE', NULL), (501, 'x', 'FR', 'y'), (502, 'x', NULL, 'z'); DELETE FROM german WHERE id = 18
--
UPDATE german SET country = 'FR' WHERE id = 21; UPDATE german SET country = 'DE' WHERE id = 21;
UPDATE german SET country = 'DE' WHERE id = 22; UPDATE german SET country = 'FR' WHERE id = 22
--
UPDATE by_size SET v = 'touched' WHERE id < 10; UPDATE by_size SET v = 'out' WHERE id IN (2, 4)
--
UPDATE by_size SET v = 'back' WHERE id = 2; UPDATE by_size SET big = 'short' WHERE id = 6; UPDATE by_size SET big = NULL WHERE id = 7
--
UPDATE named_after SET country = 'FR' WHERE id = 3; UPDATE named_after SET country = 'DE' WHERE id IN (1, 2); UPDATE named_after SET kept = 'x' WHERE id > 20
--
UPDATE hush SET w = 1; UPDATE hush SET b = NOT b, c = c || 'x', red = NULL, nuli = 8 WHERE id IN (1, 1001); DELETE FROM hush WHERE id = 2
--
UPDATE hush_keyless SET b = NOT b, n = n + 1 WHERE n < 3; DELETE FROM hush_keyless WHERE n = 3
"""


def check(pair: Pair) -> None:
    for table, query in EXPECTED.items():
        pair.src.execute(f"CREATE OR REPLACE VIEW expected.{table.rpartition('.')[2]} AS {query}".encode())
    for table in EXPECTED:
        name = table.rpartition(".")[2]
        listed = ", ".join(
            r[0]
            for r in pair.src.execute(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
                [f"expected.{name}"],
            )
        )
        path = "hushed" if table == "hushed" else table
        pair.src.execute("SET search_path = expected, public")
        pair.tgt.execute("SET search_path = crm, public")
        pair.equal(path.rpartition(".")[2], columns=listed)


def test_what_is_chosen_renamed_masked_and_filtered_is_the_same_loaded_and_streamed(pair: Pair) -> None:
    pair.src.execute(PEOPLE.encode())
    pair.src.execute(ROWS.format(at=0).encode())
    pair.src.execute("CREATE SCHEMA expected")
    pair.tgt.execute(CREATE.encode())
    pair.apply(tables=tables(), exclude=["hr.audit_*"])
    check(pair)
    pair.src.execute("SET search_path = public")
    pair.src.execute(ROWS.format(at=1000).encode())
    for step in CHANGES.split("--"):
        with pair.src.transaction():
            pair.src.execute(step.encode())
    check(pair)
    pair.src.execute("SET search_path = public")
    for step in CHANGES.split("--")[2:9]:
        pair.src.execute(
            "UPDATE german SET v = 'again' || v; UPDATE by_size SET v = 'again' WHERE id % 7 = 0"
        )
        with pair.src.transaction():
            pair.src.execute(step.replace("502", "602").replace("501", "601").replace("500", "600").encode())
        check(pair)
        pair.src.execute("SET search_path = public")
    there = {
        r[0]
        for r in pair.tgt.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('crm', 'hr', 'public', 'Other Schema')"
        )
    }
    assert there == {
        "crm.persons",
        "crm.only_two",
        "public.german",
        "public.by_size",
        "public.named_after",
        "public.hushed",
        "public.hush_keyless",
    }
    columns = pair.tgt.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'crm.persons'::regclass AND attnum > 0"
    )
    assert [c[0] for c in columns] == ["id", "kept", "country", "body", "list"]


def test_the_plan_tells_all_that_will_run(pair: Pair) -> None:
    """Run by hand on an empty target, its statements make everything; types, schemas and extensions included."""
    pair.src.execute(
        "CREATE EXTENSION hstore; CREATE SCHEMA other; CREATE TYPE other.mood AS ENUM ('ok', 'sad');"
        "CREATE DOMAIN other.positive AS int CHECK (VALUE > 0);"
        "CREATE TABLE other.t (id other.positive PRIMARY KEY, m other.mood[], h hstore, UNIQUE (m), CHECK (id < 10))"
    )
    statements = pair.cli("plan", "-f", str(pair.spec()))["pipelines"][0]["ddl"]
    for statement in statements:
        pair.tgt.execute(statement)
    pair.tgt.execute("INSERT INTO other.t VALUES (1, '{ok}', 'a=>b')")
    with pytest.raises(psycopg.errors.CheckViolation):
        pair.tgt.execute("INSERT INTO other.t VALUES (10, '{sad}', NULL)")
