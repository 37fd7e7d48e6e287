"""users, tokens."""

from __future__ import annotations

from cli_tools import ADMIN, ADMIN_PASSWORD, Cli

LONG = "a long enough password"


def test_the_life_of_an_account(cli: Cli) -> None:
    made = cli(
        "users", "add", "Ann@example.org", "--name", "Ann [x]", "--role", "viewer", "--password-stdin", "--json",
        stdin=f"{LONG}\n",
    )  # fmt: skip
    assert (made.code, made.json["email"], made.json["role"]) == (0, "ann@example.org", "viewer")
    assert cli("users", "add", "ann@example.org", "--no-password").code == 1
    assert {u["email"] for u in cli("users", "list", "--json").json} >= {ADMIN, "ann@example.org"}
    assert [u["email"] for u in cli("users", "list", "--search", "ANN", "--json").json] == ["ann@example.org"]
    assert [u["email"] for u in cli("users", "list", "--role", "viewer", "--json").json] == [
        "ann@example.org"
    ]
    assert "Ann [x]" in cli("users", "list").out
    changed = cli("users", "change", "ann@example.org", "--role", "operator", "--inactive", "--json").json
    assert (changed["role"], changed["is_active"], changed["full_name"]) == ("operator", False, "Ann [x]")
    assert "inactive" in cli("users", "change", "ann@example.org", "--name", "Ann").out
    assert cli("users", "unlock", "ann@example.org").code == 0
    assert cli("users", "delete", "ann@example.org").code == 0
    gone = cli("users", "delete", "ann@example.org", "--json")
    assert (gone.code, gone.json["error"]["code"]) == (3, "no_such_user")


def test_an_account_is_disabled_and_enabled(cli: Cli) -> None:
    cli("users", "add", "off@example.org", "--password-stdin", stdin=f"{LONG}\n")
    words = ["tokens", "add", "x", "--email", "off@example.org", "--password-stdin"]
    token = cli(*words, stdin=f"{LONG}\n").out.strip()
    with_it = {"HEADRACE_TOKEN": token, "HEADRACE_SERVER": cli.url}
    assert cli("tokens", "list", **with_it).code == 0
    assert cli("users", "disable", "off@example.org").out == "off@example.org is disabled.\n"
    assert cli("tokens", "list", **with_it).code == 4
    assert cli(*words, stdin=f"{LONG}\n").code == 4
    assert cli("users", "enable", "off@example.org", "--json").json["is_active"] is True
    assert cli("tokens", "list", **with_it).code == 0
    last = cli("users", "disable", ADMIN, "--json")
    assert (last.code, last.json["error"]["code"]) == (1, "last_admin")


def test_what_is_refused_of_accounts(cli: Cli) -> None:
    weak = cli("users", "add", "bob@example.org", "--password-stdin", "--json", stdin="short\n")
    assert (weak.code, weak.json["error"]["code"]) == (2, "weak_password")
    nobody = cli("users", "add", "bob@example.org", "--json")
    assert (nobody.code, nobody.json["error"]["code"]) == (2, "no_password")
    nothing = cli("users", "change", ADMIN, "--json")
    assert (nothing.code, nothing.json["error"]["code"]) == (2, "nothing_to_change")
    last = cli("users", "delete", ADMIN, "--json")
    assert (last.code, last.json["error"]["code"]) == (1, "last_admin")
    assert cli("users", "add", "bob@example.org", "--role", "king", "--no-password").code == 2


def test_a_changed_password_is_the_one_that_counts(cli: Cli) -> None:
    cli("users", "add", "eve@example.org", "--password-stdin", stdin=f"{LONG}\n")
    cli("users", "change", "eve@example.org", "--password-stdin", stdin=f"{LONG} 2\n")
    words = ["tokens", "add", "x", "--email", "eve@example.org", "--password-stdin"]
    assert cli(*words, stdin=f"{LONG}\n").code == 4
    assert cli(*words, stdin=f"{LONG} 2\n").code == 0


def test_the_life_of_a_token(cli: Cli) -> None:
    cli("users", "add", "dan@example.org", "--role", "operator", "--password-stdin", stdin=f"{LONG}\n")
    dan = ["--email", "dan@example.org", "--password-stdin"]
    made = cli(
        "tokens", "add", "ci", "--scope", "pipelines:read", "--days", "7", *dan, "--json", stdin=f"{LONG}\n"
    )
    assert (made.code, made.json["scopes"]) == (0, ["pipelines:read"])
    with_it = {"HEADRACE_TOKEN": made.json["token"], "HEADRACE_SERVER": cli.url}
    assert cli("connections", "list", **with_it).code == 4
    listed = cli("tokens", "list", "--json", **with_it).json
    assert [(t["name"], t["id"]) for t in listed] == [("ci", made.json["id"])]
    assert "token" not in listed[0]
    assert [t["name"] for t in cli("tokens", "list", "--user", "dan@example.org", "--json").json] == ["ci"]
    printed = cli("tokens", "add", "ci", "--scope", "*", *dan, stdin=f"{LONG}\n").out.strip()
    assert printed.startswith("hr_")
    with_other = {**with_it, "HEADRACE_TOKEN": printed}
    several = cli("tokens", "revoke", "ci", "--json", **with_other)
    assert (several.code, several.json["error"]["code"]) == (2, "ambiguous")
    assert cli("tokens", "revoke", made.json["id"], **with_it).code == 0
    assert cli("tokens", "list", **with_it).code == 4
    assert cli("tokens", "revoke", "ci", **with_other).code == 0
    assert cli("tokens", "list", **with_other).code == 4
    assert cli("tokens", "revoke", "nothing").code == 3


def test_scopes_that_there_are_not(cli: Cli) -> None:
    words = ["tokens", "add", "x", "--scope", "pipelines:fly", "--email", ADMIN, "--json"]
    answer = cli(*words, HEADRACE_PASSWORD=ADMIN_PASSWORD)
    assert (answer.code, answer.json["error"]["code"]) == (2, "unknown_scope")


def test_a_role_that_may_not(cli: Cli) -> None:
    cli("users", "add", "vic@example.org", "--role", "viewer", "--password-stdin", stdin=f"{LONG}\n")
    words = ["tokens", "add", "x", "--scope", "*", "--email", "vic@example.org", "--password-stdin"]
    token = cli(*words, stdin=f"{LONG}\n").out.strip()
    answer = cli("users", "list", "--json", HEADRACE_TOKEN=token, HEADRACE_SERVER=cli.url)
    assert (answer.code, answer.json["error"]["code"]) == (4, "forbidden")
