"""Logging in, staying in, and being thrown out, over a real server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jwt
import people
import pytest
from api_server import BOTH, Running

from headrace.auth.tokens import Signer
from support.lab import until

pytestmark = BOTH


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def test_a_login_gives_tokens_that_prove_who_one_is(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "operator")
    entered = people.tokens(running, "ann")
    with people.client(running, entered["access_token"]) as ann:
        me = ann.get("auth/me").json()
        assert (me["name"], me["role"], me["kind"]) == ("ann@example.org", "operator", "session")
        assert "pipelines:write" in me["permissions"]
        assert ann.put("auth/me", json={"full_name": "Ann"}).json()["full_name"] == "Ann"
        assert [s["current"] for s in ann.get("auth/sessions").json()["items"]] == [True]
        assert code(ann.get("users")) == (403, "forbidden")
        assert ann.post("auth/logout").status_code == 204
        assert code(ann.get("auth/me")) == (401, "unauthorized")
    assert {"login", "logout", "created"} <= {a.action for a in running.store.audits()[0]}
    for said in (str(running.store.audits()[0]), api.get("users").text):
        assert people.PASSWORD not in said
        assert "argon2" not in said


@pytest.mark.parametrize(
    ("email", "password"), [("nobody@example.org", people.PASSWORD), ("ann@example.org", "x")]
)
def test_a_wrong_login_tells_nothing(api: httpx.Client, running: Running, email: str, password: str) -> None:
    people.add(api, "ann")
    with people.client(running) as stranger:
        answer = stranger.post("auth/login", json={"email": email, "password": password})
        assert code(answer) == (401, "wrong_login")
        assert email not in answer.text
    assert running.store.audits()[0][0].action == "login_failed"


def test_an_account_is_locked_after_many_wrong_passwords(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    with people.client(running) as stranger:
        wrong = {"email": "ann@example.org", "password": "wrong"}
        for _ in range(10):
            assert stranger.post("auth/login", json=wrong).status_code == 401
        right = {"email": "ann@example.org", "password": people.PASSWORD}
        assert code(stranger.post("auth/login", json=right)) == (401, "wrong_login")
        assert api.get("users/ann@example.org").json()["locked"] is True
        assert api.post("users/ann@example.org/unlock").json()["locked"] is False
        assert stranger.post("auth/login", json=right).status_code == 200


def bad_logins(running: Running, many: int) -> None:
    """So many wrong logins from one address: refused, written down, and everybody else goes on."""
    with people.client(running) as stranger, people.client(running, running.token) as admin:

        def attempt(n: int) -> int:
            body = {"email": f"x{n % 7}@example.org", "password": "wrong"}
            return stranger.post("auth/login", json=body).status_code

        with ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(attempt, range(many)))
            began = time.monotonic()
            assert admin.get("auth/me").status_code == 200
        assert time.monotonic() - began < 2
        assert set(seen) == {401, 429}
        assert seen.count(401) <= 65

        def written() -> int:
            failed = admin.get("audit", params={"action": "login_failed", "limit": 1}).json()["total"]
            refused = admin.get("audit", params={"action": "too_many", "limit": 1000}).json()["items"]
            return int(failed) + sum(r["new_values"]["times"] for r in refused)

        until(lambda: written() == many, 20, "every attempt in the audit")


def test_many_bad_logins_are_refused_and_written_down(running: Running) -> None:
    bad_logins(running, 300)


@pytest.mark.full
def test_ten_thousand_bad_logins(running: Running) -> None:
    bad_logins(running, 10_000)


def test_refresh_tokens_are_used_once(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    first = people.tokens(running, "ann")
    with people.client(running) as ann:

        def renew(token: str) -> httpx.Response:
            return ann.post("auth/refresh", json={"refresh_token": token})

        # Whoever knows no more than a session's id cannot end it.
        assert code(renew(first["refresh_token"].partition(".")[0] + ".garbage")) == (401, "unauthorized")
        second = renew(first["refresh_token"]).json()
        assert second["refresh_token"] != first["refresh_token"]
        third = renew(second["refresh_token"]).json()
        # The first was used two renewals ago: whoever has it is not who has the third.
        assert code(renew(first["refresh_token"])) == (401, "unauthorized")
        assert code(renew(third["refresh_token"])) == (401, "unauthorized")
        assert code(renew("nonsense")) == (401, "unauthorized")
    with people.client(running, third["access_token"]) as ann:
        assert code(ann.get("auth/me")) == (401, "unauthorized")
    assert "refresh_reuse" in {a.action for a in running.store.audits()[0]}


def test_two_tabs_may_renew_at_once(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    entered = people.tokens(running, "ann")

    def renew(_: int) -> httpx.Response:
        with people.client(running) as tab:
            return tab.post("auth/refresh", json={"refresh_token": entered["refresh_token"]})

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(renew, range(2)))
    assert [a.status_code for a in answers] == [200, 200]
    first, second = (a.json()["refresh_token"] for a in answers)
    # Whichever cookie lands last, it is the session's.
    assert first == second != entered["refresh_token"]
    with people.client(running) as tab:
        assert renew(0).json()["refresh_token"] == first
        third = tab.post("auth/refresh", json={"refresh_token": first})
        assert third.status_code == 200
        assert third.json()["refresh_token"] not in (first, entered["refresh_token"])


def test_cookies_are_for_this_site_only(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    with people.client(running) as ann:
        body = {"email": "ann@example.org", "password": people.PASSWORD, "cookies": True}
        entered = ann.post("auth/login", json=body)
        assert entered.json()["access_token"] is None
        said = entered.headers.get_list("set-cookie")
        hidden = {c.split("=")[0]: "HttpOnly" in c for c in said}
        assert hidden == {"headrace_access": True, "headrace_refresh": True, "headrace_csrf": False}
        assert all("SameSite=lax" in c for c in said)
        assert ann.get("auth/me").json()["name"] == "ann@example.org"
        new = {"full_name": "Ann"}
        csrf = {"x-csrf-token": entered.json()["csrf_token"]}
        assert code(ann.put("auth/me", json=new)) == (403, "csrf")
        assert code(ann.put("auth/me", json=new, headers={"x-csrf-token": "0" * 64})) == (403, "csrf")
        foreign = {**csrf, "origin": "https://evil.example"}
        assert code(ann.put("auth/me", json=new, headers=foreign)) == (403, "csrf")
        assert code(ann.post("auth/refresh", headers={"origin": "null"})) == (403, "csrf")
        assert ann.put("auth/me", json=new, headers={**csrf, "origin": running.url}).status_code == 200
        assert ann.post("auth/refresh").json()["refresh_token"] is None
        assert code(ann.post("auth/logout")) == (403, "csrf")
        assert ann.post("auth/logout", headers=csrf).status_code == 204
        assert ann.get("auth/me").status_code == 401


@pytest.mark.parametrize(
    "change", [{"role": "viewer"}, {"is_active": False}, {"password": "another long password"}]
)
def test_what_an_admin_changes_ends_sessions_at_once(
    api: httpx.Client, running: Running, change: dict[str, Any]
) -> None:
    people.add(api, "ann", "operator")
    token = people.tokens(running, "ann")["access_token"]
    with people.client(running, token) as ann:
        assert ann.get("auth/me").status_code == 200
        assert api.put("users/ann@example.org", json=change).status_code == 200
        assert code(ann.get("auth/me")) == (401, "unauthorized")


def test_a_disabled_account_is_out_until_it_is_enabled(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "operator")
    given = people.tokens(running, "ann")
    with people.client(running, given["access_token"]) as ann:
        token = ann.post("tokens", json={"name": "t", "scopes": ["*"]}).json()["token"]
    assert api.put("users/ann@example.org", json={"is_active": False}).json()["is_active"] is False
    refresh = {"refresh_token": given["refresh_token"]}
    with people.client(running, token) as program:
        assert code(program.get("pipelines")) == (401, "unauthorized")
        assert program.post("auth/refresh", json=refresh).status_code == 401
        assert api.put("users/ann@example.org", json={"is_active": True}).status_code == 200
        assert program.get("pipelines").status_code == 200
        assert program.post("auth/refresh", json=refresh).status_code == 401


def test_the_first_account_is_told(api: httpx.Client, running: Running) -> None:
    running.store.add_first_user("first@example.org", "x")
    assert people.add(api, "ann", "admin")["is_superuser"] is False
    assert api.get("users/first@example.org").json()["is_superuser"] is True


def test_a_password_of_ones_own(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann")
    with people.client(running, people.tokens(running, "ann")["access_token"]) as ann:

        def change(current: str, new: str) -> httpx.Response:
            return ann.post("auth/password", json={"current": current, "new": new})

        assert code(change("wrong", "another long password")) == (403, "wrong_password")
        assert code(change(people.PASSWORD, "short")) == (422, "weak_password")
        assert code(change(people.PASSWORD, "ann@example.org")) == (422, "weak_password")
        assert change(people.PASSWORD, "another long password").status_code == 204
        assert ann.get("auth/me").status_code == 401
    people.tokens(running, "ann", "another long password")


def test_api_tokens_narrow_a_role(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "operator")
    people.add(api, "bob", "operator")
    with people.client(running, people.tokens(running, "ann")["access_token"]) as ann:
        made = ann.post("tokens", json={"name": "ci", "scopes": ["pipelines:*", "users:write"]}).json()
        assert code(ann.post("tokens", json={"name": "x", "scopes": ["nonsense"]})) == (422, "unknown_scope")
        old = {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}
        assert code(ann.post("tokens", json=old)) == (422, "bad_expiry")
        listed = ann.get("tokens")
        assert [t["name"] for t in listed.json()["items"]] == ["ci"]
        assert made["token"] not in listed.text
        with people.client(running, made["token"]) as ci:
            assert ci.get("auth/me").json()["permissions"] == [
                "pipelines:read",
                "pipelines:run",
                "pipelines:write",
            ]
            assert ci.get("pipelines").status_code == 200
            assert code(ci.get("connections")) == (403, "forbidden")
            assert code(ci.post("tokens", json={"name": "more"})) == (403, "needs_login")
            assert code(ci.post("auth/password", json={"current": "x", "new": "y"})) == (403, "needs_login")
            assert ann.get("tokens").json()["items"][0]["last_used_at"] is not None
            with people.client(running, people.tokens(running, "bob")["access_token"]) as bob:
                assert code(bob.delete(f"tokens/{made['id']}")) == (404, "no_such_token")
                assert code(bob.get("tokens", params={"user": "ann@example.org"})) == (403, "forbidden")
            assert (
                api.get("tokens", params={"user": "ann@example.org"}).json()["items"][0]["id"] == made["id"]
            )
            assert ann.delete(f"tokens/{made['id']}").status_code == 204
            assert code(ci.get("pipelines")) == (401, "unauthorized")
    assert code(api.post("tokens", json={"name": "x"})) == (403, "needs_login")


def test_an_api_token_does_not_act_on_its_owners_account(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "admin")
    with people.client(running, people.tokens(running, "ann")["access_token"]) as ann:

        def token(*scopes: str) -> dict[str, Any]:
            made: dict[str, Any] = ann.post("tokens", json={"name": "t", "scopes": scopes}).json()
            return made

        wide, narrow, writes = token("*"), token("monitoring:read"), token("users:*")
        session = ann.get("auth/sessions").json()["items"][0]["id"]
        for one in (narrow, wide):
            with people.client(running, one["token"]) as robot:
                assert code(robot.get("auth/sessions")) == (403, "needs_login")
                assert code(robot.delete(f"auth/sessions/{session}")) == (403, "needs_login")
        with people.client(running, narrow["token"]) as robot:
            assert [t["id"] for t in robot.get("tokens").json()["items"]] == [narrow["id"]]
            assert code(robot.delete(f"tokens/{wide['id']}")) == (403, "needs_login")
            assert robot.delete(f"tokens/{narrow['id']}").status_code == 204
            assert robot.get("auth/me").status_code == 401
        with people.client(running, wide["token"]) as robot:
            assert len(robot.get("tokens").json()["items"]) == 2
        # What a scope says it may.
        with people.client(running, writes["token"]) as robot:
            listed = robot.get("tokens", params={"user": "ann@example.org"}).json()["items"]
            assert {t["id"] for t in listed} == {wide["id"], writes["id"]}
            assert robot.delete(f"tokens/{wide['id']}").status_code == 204
        assert ann.get("auth/me").status_code == 200


def test_the_last_admin_stays(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "admin")
    people.add(api, "bob", "admin")

    def demote(name: str) -> int:
        with people.client(running, running.token) as admin:
            return admin.put(f"users/{name}@example.org", json={"role": "user"}).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(demote, ["ann", "bob"])) == [200, 409]
    left = api.get("users", params={"role": "admin"}).json()["items"][0]["id"]
    assert code(api.delete(f"users/{left}")) == (409, "last_admin")
    assert code(api.put(f"users/{left}", json={"is_active": False})) == (409, "last_admin")


def test_accounts_are_listed_changed_as_read_and_deleted(api: httpx.Client, running: Running) -> None:
    for name, role in (("ann", "operator"), ("bob", "viewer"), ("cleo", "operator")):
        people.add(api, name, role)
    assert code(api.post("users", json={"email": "ANN@example.org"})) == (409, "exists_already")
    assert code(api.post("users", json={"email": "no address"})) == (422, "bad_address")
    found = api.get("users", params={"role": "operator", "sort": "-email", "limit": 1}).json()
    assert (found["total"], found["items"][0]["email"]) == (2, "cleo@example.org")
    assert api.get("users", params={"q": "%"}).json()["total"] == 0
    read = api.get("users/bob@example.org")
    assert api.put("users/bob@example.org", json={"full_name": "B"}).status_code == 200
    late = api.put("users/bob@example.org", json={"role": "user"}, headers={"if-match": read.headers["etag"]})
    assert code(late) == (412, "stale")
    token = people.tokens(running, "bob")["access_token"]
    assert api.delete("users/bob@example.org").status_code == 204
    assert code(api.get("users/bob@example.org")) == (404, "no_such_user")
    with people.client(running, token) as bob:
        assert bob.get("auth/me").status_code == 401
    people.add(api, "bob")


def test_signing_up_is_closed_unless_settings_open_it(running: Running) -> None:
    with people.client(running) as stranger:
        body = {"email": "new@example.org", "password": people.PASSWORD}
        assert code(stranger.post("auth/signup", json=body)) == (403, "signup_closed")
        assert stranger.get("auth/methods").json() == {"password": True, "signup": False, "oidc": False}
        assert code(stranger.get("auth/oidc/login")) == (404, "no_oidc")


def test_forged_tokens_are_refused(api: httpx.Client, running: Running) -> None:
    people.add(api, "ann", "admin")
    good = people.tokens(running, "ann")["access_token"]
    said = jwt.decode(good, options={"verify_signature": False})
    header = {"kid": jwt.get_unverified_header(good)["kid"], "typ": "at+jwt"}
    keys = running.store.secret_keys
    forged = {
        "none": jwt.encode(said, None, "none", headers=header),
        "another key": Signer(["another"]).access(said["sub"], said["sid"], 60),
        "another key under our id": jwt.encode(said, b"x" * 32, headers=header),
        "another kind": Signer(keys).sign(said, "jwt"),
        "another audience": Signer(keys).sign({**said, "aud": "x"}, "at+jwt"),
        "another issuer": Signer(keys).sign({**said, "iss": "x"}, "at+jwt"),
        "expired": Signer(keys).access(said["sub"], said["sid"], -1),
        "no session": Signer(keys).access(said["sub"], "none", 60),
        "another's session": Signer(keys).access("local", said["sid"], 60),
        "cut": good[:-2],
    }
    for why, token in forged.items():
        with people.client(running, token) as thief:
            answer = thief.get("auth/me")
            assert answer.status_code == 401, why
            assert token not in answer.text
    with people.client(running, good) as ann:
        assert ann.get("auth/me").status_code == 200
