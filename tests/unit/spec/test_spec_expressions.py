"""Row filters cannot leave the parentheses that they are put into."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headrace.spec.expressions import require_whole
from headrace.spec.models import TableSpec

WHOLE = [
    "country = 'DE'",
    "total > 10 AND (hidden OR tags[1] = 'a)b')",
    "name ~ '^\\d+\\)$'",
    "note = E'it\\'s ) here' AND 1 = 1",
    "note = 'it''s ) here'",
    '"odd ) column" = 1',
    '"with "" quote )" = 1',
    "body = $$ a ) b $$ AND x = $tag$ ; $$ -- ' $tag$",
    "a$b$c = 1",
    "x = E'\\' ) '",
    "f(g(1), h((2))) IS NOT NULL",
    "minus - -1 > 2",
]
ESCAPES = [
    "true) OR (true",
    "true)) TO STDOUT; COMMIT; CREATE TABLE pwned AS SELECT 1; COPY (SELECT 1 WHERE (true",
    "true) UNION SELECT * FROM secrets WHERE (true",
    "true -- and the rest",
    "true /* and the rest",
    "x = 'open",
    'x = "open',
    "x = 'a\\' ) OR ('b' = 'b'",
    "1E'\\'' ) '",
    "$1$ ) OR ( $1$",
    "a$$ ) OR ( $$",
    "(true",
    "tags[(1])",
    "true; select 1",
]


@pytest.mark.parametrize("text", WHOLE)
def test_expressions_are_taken(text: str) -> None:
    assert TableSpec.model_validate({"name": "public.t", "where": text}).where == text


@pytest.mark.parametrize("text", ESCAPES)
def test_what_would_leave_its_parentheses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"that closes nothing|that is not closed|in it"):
        require_whole(text)
    with pytest.raises(ValidationError):
        TableSpec.model_validate({"name": "public.t", "where": text})
