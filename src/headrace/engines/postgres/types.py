"""The type contract: which columns travel losslessly in Debezium's events, and which are re-read by key.

The lists are what real rows through Debezium PostgreSQL 3.7 showed. A type is re-read unless proven
lossless, in its value *and* in the recognition of an unchanged TOAST value.
"""

from __future__ import annotations

from headrace.engines.model import Carriage

# typname of built-in base types whose event form is lossless.
LOSSLESS = frozenset(
    """bool int2 int4 int8 float4 float8 numeric money oid
    text varchar bpchar name uuid
    date timestamp timestamptz interval
    bytea json jsonb inet cidr macaddr macaddr8 bit
    int4range int8range numrange tsrange tstzrange daterange""".split()
)

# typname of the types that COPY BINARY carries between servers, alone and as elements of arrays. Not tsquery and
# int2vector, whose empty value is not read back, nor what stands for an object by the id it has on one server.
BINARY = LOSSLESS | frozenset(
    """char time timetz varbit tsvector jsonpath pg_lsn xid xid8 cid tid txid_snapshot pg_snapshot
    point line lseg box path polygon circle citext hstore
    int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange""".split()
)

# Types of well-known extensions whose event form is lossless (the schema varies).
LOSSLESS_EXTENSION = frozenset({"citext", "ltree"})

# Bits that fit into the 24 bytes below which PostgreSQL stores no value out of line.
INLINE_BITS = 128

# Types that may not be a key: equality differs from text equality, or they have no order.
NOT_KEY = frozenset({"json", "xml", "point", "money", "float4", "float8"})


def carriage(base: str, category: str, version: int, typmod: int = -1) -> Carriage:
    """How a column travels. base: typname below domains; category: typtype + typcategory (``bN``, ``eE``).

    version: the source's ``server_version_num``. typmod: of the base type; the length of a ``bit(n)``.
    """
    if category.startswith("e"):
        return "event"
    if base == "interval" and version >= 170000:
        # Infinite intervals came with 17; their event form is that of zero.
        return "reread"
    if base == "bit" and typmod > INLINE_BITS:
        # Out of line it can be unavailable, and the placeholder then looks like any value.
        return "reread"
    if base in LOSSLESS or base in LOSSLESS_EXTENSION:
        return "event"
    return "reread"


def may_be_key(base: str, category: str, version: int, typmod: int = -1) -> bool:
    """Whether a column of this type can be part of Headrace's key."""
    return carriage(base, category, version, typmod) == "event" and base not in NOT_KEY
