"""Settings of the connector that are nobody's but Headrace's: they decide which rows and values the stream carries."""

from __future__ import annotations

import re
from collections.abc import Iterable

_STREAM = re.compile(
    r"""
      (transforms|predicates)(\..*)? | converters | (key|value|header)\.converter\..*
    | column\.((include|exclude)\.list | (mask|truncate)\..*)
    | (table|schema)\.(include|exclude)\.list
    | event\.(processing|deserialization)\.failure\.handling\.mode | errors\.tolerance
    | message\.key\.columns | skip\.messages\.without\.change | money\.fraction\.digits
    | topic\.(naming\.strategy | heartbeat\.prefix | delimiter | transaction)
    | topic\.creation\.(groups | default\.cleanup\.policy)
    | sourceinfo\.struct\.maker | (field|schema)\.name\.adjustment\.mode
    | slot\.stream\.params | lsn\.flush\.mode | flush\.lsn\.source | replica\.identity\.autoset\.values
    | signal\..*
    """,
    re.VERBOSE,
)


def over_the_stream(names: Iterable[str]) -> list[str]:
    """Those of the names that would leave rows out, change values, or send them elsewhere."""
    return sorted(name for name in names if _STREAM.fullmatch(name.strip()))
