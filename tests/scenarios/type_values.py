"""Every built-in type of PostgreSQL with its extreme values, as SQL expressions; NULL is added everywhere."""

from __future__ import annotations

PREPARE = r"""
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube;
CREATE SCHEMA "My Types";
CREATE TYPE "My Types"."Mood" AS ENUM ('sad', 'it''s "ok"', 'back\slash', 'été', '');
CREATE TYPE pair AS (a int, "b c" text);
CREATE TYPE nest AS (p pair, q pair[], r "My Types"."Mood");
CREATE DOMAIN d_text AS text CHECK (length(VALUE) < 100);
CREATE DOMAIN d_numeric AS numeric(12, 3);
CREATE DOMAIN d_bit AS bit(8);
CREATE DOMAIN d_bit_again AS d_bit;
CREATE DOMAIN d_chars AS char(5);
CREATE DOMAIN d_array AS int[];
CREATE DOMAIN d_over AS d_text;
CREATE DOMAIN d_enum AS "My Types"."Mood";
CREATE DOMAIN d_bytea AS bytea;
CREATE DOMAIN d_time AS timestamptz;
CREATE DOMAIN d_citext AS citext;
CREATE DOMAIN d_float AS float8;
CREATE DOMAIN d_pair AS pair;
CREATE TYPE textrange2 AS RANGE (SUBTYPE = text);
CREATE TYPE shy AS ENUM ('x', 'y');
CREATE FUNCTION shy_text(shy) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'not what it prints' $$;
CREATE CAST (shy AS text) WITH FUNCTION shy_text(shy);
CREATE TYPE sly AS (a int);
CREATE FUNCTION sly_text(sly) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT '(7)' $$;
CREATE CAST (sly AS text) WITH FUNCTION sly_text(sly);
"""

_STRINGS = (
    r"E'tab\tnew\nline\rreturn\\ back ''quote'' \"double\"'",
    "''",
    "' lead and trail '",
    r"'\N'",
    r"'\.'",
    "'NULL'",
    "'é ü 漢字 😀 \u200f\ufeff'",
    r"E'\x01\x02\x7f\x1f'",
    "'{\"a\":1}'",
    "'__debezium_unavailable_value'",
)
_TIMESTAMPS = (
    "'infinity'",
    "'-infinity'",
    "'4714-11-24 00:00:00+00 BC'",
    "'0044-03-15 12:34:56.789012+00 BC'",
    "'0001-12-31 23:59:59.999999+00 BC'",
    "'0001-01-01 00:00:00+00'",
    "'0999-06-15 01:02:03+00'",
    "'1582-10-04 12:00:00+00'",
    "'1582-10-10 12:00:00+00'",
    "'1582-10-15 00:00:00+00'",
    "'1883-11-18 12:03:58+00'",
    "'1969-12-31 23:59:59.999999+00'",
    "'2000-02-29 00:00:00.000001+00'",
    "'2021-03-28 01:59:59.999+00'",
    "'2021-03-28 02:30:00+00'",
    "'2021-10-31 01:30:00+00'",
    "'9999-12-31 23:59:59.999999+00'",
    "'10000-01-01 00:00:00+00'",
    "'294276-12-31 23:59:59.999999+00'",
)
_NUMERICS = (
    "0",
    "'NaN'",
    "'Infinity'",
    "'-Infinity'",
    "1.0",
    "1.00",
    "-0.000000000000000000001",
    "12345678901234567890.12345678901234567890",
    "('1' || repeat('0', 1000))::numeric",
    "('0.' || repeat('0', 999) || '1')::numeric",
    "(repeat('9', 1000) || '.' || repeat('3', 500))::numeric",
    "1e-10",
    "1e20",
)

VALUES: dict[str, tuple[str, ...]] = {
    "bool": ("true", "false"),
    "int2": ("-32768", "0", "32767"),
    "int4": ("-2147483648", "0", "2147483647"),
    "int8": ("-9223372036854775808", "0", "9223372036854775807", "9007199254740993"),
    "float4": ("0", "'-0'", "'NaN'", "'Infinity'", "'-Infinity'", "3.4028235e38", "1e-45", "0.1", "16777217"),
    "float8": (
        "0",
        "'-0'",
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "1.7976931348623157e308",
        "'4.9406564584124654e-324'",
        "0.1",
        "1e15",
        "123456789012345680",
    ),
    "numeric": _NUMERICS,
    "numeric(10,2)": ("'NaN'", "0", "-99999999.99", "99999999.99", "0.01"),
    "numeric(5,-3)": ("12345678", "-1000"),
    "numeric(3,5)": ("0.00123", "-0.00999"),
    "money": ("0", "'-92233720368547758.08'", "'92233720368547758.07'", "0.01", "-1234.5"),
    "oid": ("0", "4294967295"),
    "text": (*_STRINGS, "repeat('x', 3000)"),
    "varchar": _STRINGS,
    "varchar(40)": (*_STRINGS[:4], "'x  '"),
    "char(8)": ("''", "'a'", "'a b  '", "'12345678'", "'é'"),
    "bpchar": ("''", "'a'", "'trailing   '", "'   '"),
    '"char"': ("'a'", "''", "E'\\\\'", "'\\377'", "'\\200'", "'\t'", "'\"'"),
    "name": ("'a'", "''", "repeat('n', 63)", "'with \"quote\"'"),
    "uuid": (
        "'00000000-0000-0000-0000-000000000000'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        "gen_random_uuid()",
    ),
    "date": (
        "'infinity'",
        "'-infinity'",
        "'4714-11-24 BC'",
        "'0044-03-15 BC'",
        "'0001-12-31 BC'",
        "'0001-01-01'",
        "'1582-10-10'",
        "'1900-02-28'",
        "'2024-02-29'",
        "'9999-12-31'",
        "'10000-01-01'",
        "'5874897-12-31'",
    ),
    "timestamp": _TIMESTAMPS,
    "timestamp(0)": ("'2024-02-29 12:00:00'", "'infinity'"),
    "timestamp(3)": ("'2024-02-29 12:00:00.123'", "'0044-03-15 12:34:56.789 BC'"),
    "timestamptz": (*_TIMESTAMPS, "'1900-01-01 00:00:00+00:19:32'", "'2024-06-01 00:00:00+15:59:59'"),
    "timestamptz(2)": ("'2024-02-29 12:00:00.12+02'",),
    "time": ("'00:00'", "'24:00'", "'23:59:59.999999'", "'00:00:00.000001'"),
    "time(3)": ("'12:00:00.123'", "'24:00'"),
    "timetz": ("'00:00+00'", "'24:00-15:59:59'", "'23:59:59.999999+15:59'", "'12:00+05:30'"),
    "interval": (
        "'0'",
        "'1 year -2 months 3 days -04:05:06.789012'",
        "'-1 year 2 mons -3 days 00:00:00.000001'",
        "'-00:00:00.000001'",
        "'178000000 years'",
        "'-178000000 years'",
        "'2147483647 days'",
        "'-2147483648 days'",
        "'2147483647 hours 59 min 59.999999 seconds'",
        "'-2147483647 hours -59.999999 seconds'",
        "'1 mon'",
        "'23:59:59.999999'",
        "'1 day 25:00:00'",
        "'-1 mon'",
        "'-1 days +23:00'",
        "'1 year'",
        "'-11 mons'",
        "'13 months'",
        "'-00:59:59.5'",
        "'infinity'",
        "'-infinity'",
    ),
    "interval day to second(2)": ("'1 day 02:03:04.56'",),
    "bytea": (
        "''",
        "'\\x00'",
        "(SELECT string_agg(set_byte('\\x00', 0, i), ''::bytea ORDER BY i) FROM generate_series(0, 255) i)",
        "'\\xdeadbeef'",
        "convert_to('__debezium_unavailable_value', 'UTF8')",
    ),
    "json": (
        r"""'{"a": 1, "a": 2,  "z": "\u0000", "e": "\ud83d\ude00"}'""",
        "'null'",
        "'  [1 , 2.50, 1e400]  '",
        "'\"text\"'",
        "E'{\\n\"k\"\\t:\\ttrue}'",
        "'12345678901234567890.123456789012345678901'",
    ),
    "jsonb": (
        '\'{"b": 1, "a": [null, true, 1.10, "x\\\\\\\\y"]}\'',
        "'null'",
        "'[]'",
        "'\"\"'",
        "'1e300'",
        "'12345678901234567890.1234567890123456789010'",
        "'-0'",
    ),
    "inet": (
        "'1.2.3.4'",
        "'1.2.3.4/8'",
        "'::1'",
        "'fe80::1/64'",
        "'0.0.0.0/0'",
        "'255.255.255.255/31'",
        "'::ffff:1.2.3.4'",
    ),
    "cidr": ("'10.0.0.0/8'", "'1.2.3.4/32'", "'2001:db8::/32'", "'::/0'"),
    "macaddr": ("'00:00:00:00:00:00'", "'ff:ff:ff:ff:ff:ff'", "'08:00:2b:01:02:03'"),
    "macaddr8": ("'00:00:00:00:00:00:00:00'", "'ff:ff:ff:ff:ff:ff:ff:ff'", "'08:00:2b:01:02:03:04:05'"),
    "bit": ("B'0'", "B'1'"),
    "bit(3)": ("B'000'", "B'101'", "B'111'", "B'001'", "B'100'"),
    "bit(8)": ("B'10000000'", "B'00000001'", "B'00000000'"),
    "bit(9)": ("B'100000000'", "B'000000001'", "B'010101010'"),
    "bit(64)": ("~ B'0'::bit(64)", "B'1'::bit(64)", "B'0'::bit(64)", "1::bit(64)"),
    "bit(200)": (
        "repeat('10', 100)::bit(200)",
        "repeat('0', 200)::bit(200)",
        "('1' || repeat('0', 199))::bit(200)",
    ),
    "varbit": ("B''", "B'0'", "B'00000000'", "B'101'", "repeat('10', 300)::varbit"),
    "varbit(10)": ("B''", "B'0000000001'"),
    "int4range": ("'empty'", "'(,)'", "'[1,10)'", "'[-2147483648,)'", "'(,5]'"),
    "int8range": ("'empty'", "'(,)'", "'[-9223372036854775808,9223372036854775807)'"),
    "numrange": ("'empty'", "'(,)'", "'(1.10,2.200]'", "'[NaN,NaN]'", "'[-Infinity,Infinity]'", "'[1,)'"),
    "tsrange": (
        "'empty'",
        "'(,)'",
        "'[infinity,)'",
        "'(0044-03-15 00:00:00 BC,294276-12-31 23:59:59.999999]'",
        "'[2021-03-28 02:30:00.000001,)'",
    ),
    "tstzrange": (
        "'empty'",
        "'(,)'",
        "'[-infinity,infinity]'",
        "'[2021-03-28 01:30:00+01,2021-10-31 02:30+02)'",
    ),
    "daterange": ("'empty'", "'(,)'", "'[-infinity,infinity]'", "'[4714-11-24 BC,5874897-12-30)'"),
    "textrange2": ("'empty'", "'(,)'", "textrange2('a', 'b\"c')", "textrange2('a,b', NULL)"),
    "int4multirange": ("'{}'", "'{[1,2),[5,)}'", "'{(,)}'"),
    "int8multirange": ("'{}'", "'{[1,9223372036854775807)}'"),
    "nummultirange": ("'{}'", "'{[1.10,2.20],(3,)}'"),
    "tsmultirange": ("'{}'", "'{[2020-01-01 00:00,2020-01-02 00:00),[infinity,)}'"),
    "tstzmultirange": ("'{}'", "'{[2020-01-01 00:00+01,2020-01-02 00:00+01)}'"),
    "datemultirange": ("'{}'", "'{[2020-01-01,2020-01-02),(2030-01-01,)}'"),
    "point": ("'(0,-0)'", "'(NaN,Infinity)'", "'(1e300,0.1)'"),
    "line": ("'{1,-1,0}'", "'{0,1,1e-300}'"),
    "lseg": ("'[(0,0),(1,1)]'",),
    "box": ("'(1,1),(0,-5)'",),
    "path": ("'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0.1))'"),
    "polygon": ("'((0,0),(1,1),(2,0))'",),
    "circle": ("'<(0,0),1e10>'", "'<(NaN,0),0>'"),
    "tsvector": ("''", "'a:1A,2B fat:3 ''it''''s'' \\\\\\\\'", "to_tsvector('simple', 'the fat cat é')"),
    "tsquery": ("''", "'fat & (rat | !cat:*A) <2> dog'", "'''it''''s'''"),
    "jsonpath": ('\'$.a[*] ? (@.b > 1 && @ like_regex "^a" flag "i")\'', "'strict $'"),
    "pg_lsn": ("'0/0'", "'FFFFFFFF/FFFFFFFF'"),
    "xid": ("'0'", "'4294967295'"),
    "xid8": ("'0'", "'18446744073709551615'"),
    "cid": ("'0'", "'4294967295'"),
    "tid": ("'(0,0)'", "'(4294967295,65535)'"),
    "txid_snapshot": ("'10:20:10,14,15'",),
    "pg_snapshot": ("'10:20:10,14,15'", "'1:1:'"),
    "regclass": ("'pg_class'", "0"),
    "regtype": ("'int4'", '\'"My Types"."Mood"\''),
    "regproc": ("'now'", "0"),
    "regprocedure": ("'abs(int4)'",),
    "regoper": ("'||/'",),
    "regoperator": ("'+(int4,int4)'",),
    "regrole": ("'postgres'",),
    "regnamespace": ("'pg_catalog'",),
    "regconfig": ("'simple'",),
    "regdictionary": ("'simple'",),
    "regcollation": ("'\"C\"'",),
    "int2vector": ("''", "'1 2 -3'"),
    "oidvector": ("''", "'1 4294967295'"),
    "refcursor": ("'c'", "''"),
    "aclitem": ("'postgres=r/postgres'",),
    "hstore": ("''", '\'a=>1, "b \\\\\\"c"=>NULL, ""=>""\'', "hstore('k', E'tab\\tnl\\n\\\\')"),
    "citext": ("'MiXed'", "'mixed'", *_STRINGS[:4]),
    "ltree": ("''", "'Top.Science.Astronomy'"),
    "lquery": ("'*.a|b@*{1,2}.c'",),
    "ltxtquery": ("'a & !b@*'",),
    "cube": ("'(1,2),(3,4)'", "'(0)'"),
    '"My Types"."Mood"': ("'sad'", "'it''s \"ok\"'", "'back\\slash'", "'été'", "''"),
    "shy": ("'x'", "'y'"),
    "pair": ("ROW(1, 'x, \"y\"')", "ROW(NULL, NULL)", "ROW(NULL, '')", r"ROW(-1, E'\\ \t\n')"),
    "sly": ("ROW(1)", "ROW(NULL)"),
    "nest": ("ROW(ROW(1,'a'), ARRAY[ROW(2,'b')::pair, NULL], 'sad')", "ROW(NULL,'{}',NULL)"),
    "d_text": _STRINGS[:3],
    "d_over": _STRINGS[:3],
    "d_numeric": ("'NaN'", "-1.5"),
    "d_bit": ("B'00000001'", "B'10000000'"),
    "d_bit_again": ("B'00000001'", "B'10000000'"),
    "d_chars": ("'a'", "''"),
    "d_array": ("'{}'", "'{{1,NULL},{3,4}}'"),
    "d_enum": ("'sad'", "''"),
    "d_bytea": ("'\\x00ff'",),
    "d_time": ("'infinity'", "'0044-03-15 12:34:56.789012+00 BC'"),
    "d_citext": ("'MiX'",),
    "d_float": ("'-0'", "'NaN'"),
    "d_pair": ("ROW(1, 'x')",),
}

# Neighbours that share a table; the order of VALUES keeps what COPY BINARY carries together.
GROUP = 8

# Has no binary form, so neither have its arrays.
_NO_ARRAY = {"aclitem"}


def _arrays() -> dict[str, tuple[str, ...]]:
    found = {}
    for name, values in VALUES.items():
        if values and name not in _NO_ARRAY:
            some = ", ".join(f"({v})::{name}" for v in values[:6])
            first = f"({values[0]})::{name}"
            found[f"{name}[]"] = (
                "'{}'",
                f"ARRAY[{some}, NULL]",
                f"ARRAY[ARRAY[{first}, NULL], ARRAY[NULL, ({values[-1]})::{name}]]",
                f"('[-2:-1]=' || ARRAY[{first}, NULL]::{name}[]::text)::{name}[]",
            )
    return found


ARRAYS = _arrays()
