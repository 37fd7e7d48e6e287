"""Two API servers as processes, each with a folder of its own, behind one PostgreSQL and one Redis."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psycopg
import pytest
import redis
from cryptography.fernet import Fernet

from headrace.local.postgres import PostgresServer
from headrace.store.shape import revisions
from support.lab import until
from support.redis_server import RedisServer
from support.replicas import How, Replica, Watching

JSON = dict[str, Any]
CHANGES = ("changes",)
HOWS: tuple[How, ...] = ("websocket", "sse")
# What one call may take while Redis does not answer.
BOUND = 5.0
_numbers = count()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(version="18", fsync=False) as server:
        with psycopg.connect(server.conninfo, autocommit=True) as conn:
            conn.execute("CREATE DATABASE metadata")
        yield server


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer, redis_server: RedisServer) -> dict[str, str]:
    """What both replicas have in common."""
    return {
        "HEADRACE_DATABASE_URL": f"postgresql://postgres:{postgres.password}@127.0.0.1:{postgres.port}/metadata",
        "HEADRACE_REDIS": redis_server.url,
        "HEADRACE_SECRET_KEY": Fernet.generate_key().decode(),
        "HEADRACE_KAFKA": "127.0.0.1:1",
        "HEADRACE_CONNECT": "http://127.0.0.1:1",
        "HEADRACE_TRUSTED_PROXIES": "127.0.0.1",
        "HEADRACE_RATE_LOGIN": "10",
    }


@pytest.fixture(scope="module")
def both(shared: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    """Both, started at once on an empty database."""
    folder = tmp_path_factory.mktemp("replicas")
    replicas = [Replica(folder / name, shared) for name in ("a", "b")]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        assert replica.serving(), replica.log
    yield replicas
    for replica in replicas:
        replica.stop()


@pytest.fixture
def pair(both: list[Replica], redis_server: RedisServer) -> list[Replica]:
    """Both, running, and heard by Redis."""
    for replica in both:
        if not replica.alive:
            replica.start()
    for replica in both:
        assert replica.serving(), replica.log
    return both


@pytest.fixture(scope="module")
def admin(both: list[Replica]) -> tuple[str, str]:
    """Address and password of the first account, from the file that one of them wrote."""
    files = [file for replica in both if (file := replica.data / "admin-password").exists()]
    assert len(files) == 1
    email, _, password = files[0].read_text().strip().partition(" ")
    return email, password


@pytest.fixture(scope="module")
def token(both: list[Replica], admin: tuple[str, str]) -> str:
    return str(logged_in(both[0], *admin)["access_token"])


@pytest.fixture
def calls(pair: list[Replica], token: str) -> Iterator[list[httpx.Client]]:
    """A client of each."""
    clients = [replica.client(token) for replica in pair]
    yield clients
    for client in clients:
        client.close()


def logged_in(replica: Replica, email: str, password: str) -> JSON:
    with replica.client(address=f"10.0.0.{next(_numbers)}") as client:
        answer = client.post("auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    found: JSON = answer.json()
    return found


def change(client: httpx.Client) -> str:
    """Make something that everybody is told of; its id."""
    made = client.post("alerts/rules", json={"name": f"r{next(_numbers)}", "metric": "lag_seconds"})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def changes(client: httpx.Client, many: int) -> list[str]:
    """As many such."""
    return [change(client) for _ in range(many)]


def rows(shared: dict[str, str], query: str) -> list[tuple[Any, ...]]:
    """Straight from the database."""
    with psycopg.connect(shared["HEADRACE_DATABASE_URL"]) as conn:
        return conn.execute(query.encode()).fetchall()


def newest(shared: dict[str, str]) -> int:
    return int(rows(shared, "SELECT coalesce(max(id), 0) FROM events")[0][0])


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """What each gives, all begun at the same moment."""
    line = threading.Barrier(len(deeds))

    def begin(deed: Callable[[], Any]) -> Any:
        line.wait(10)
        return deed()

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(begin, deeds))


def test_two_that_start_at_once_make_one_admin_and_one_shape(
    pair: list[Replica], shared: dict[str, str], admin: tuple[str, str]
) -> None:
    assert rows(shared, "SELECT email, role_name FROM users") == [(admin[0], "admin")]
    assert rows(shared, "SELECT version_num FROM alembic_version") == [(revisions()[-1],)]
    assert rows(shared, "SELECT count(*) FROM audit_logs WHERE action = 'created'") == [(1,)]
    for replica in pair:
        assert logged_in(replica, *admin)["user"]["role"] == "admin"


@pytest.mark.parametrize("how", HOWS)
def test_a_change_through_one_is_seen_live_through_the_other(
    pair: list[Replica], calls: list[httpx.Client], shared: dict[str, str], token: str, how: How
) -> None:
    for here, there in ((0, 1), (1, 0)):
        with Watching(pair[there], token, how, newest(shared), CHANGES) as watching:
            took = []
            for n in range(5):
                began = time.monotonic()
                made = change(calls[here])
                watching.wait(n + 1)
                assert watching.seen[n].message["data"]["entity_id"] == made
                took.append(watching.seen[n].at - began)
            assert median(took) < 1


@pytest.mark.parametrize("how", HOWS)
def test_who_resumes_at_the_other_misses_nothing_and_sees_nothing_twice(
    pair: list[Replica], calls: list[httpx.Client], shared: dict[str, str], token: str, how: How
) -> None:
    start, made = newest(shared), 60
    found: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(changes, c, made // 2) for c in calls]
        for n in count():
            last = found[-1] if found else start
            with Watching(pair[n % 2], token, how, last, CHANGES) as watching:
                watching.wait(min(7, made - len(found)))
            found += watching.ids
            if len(found) >= made:
                break
        written = {id_ for writer in writers for id_ in writer.result()}
    wanted = rows(
        shared,
        f"SELECT id, data->>'entity_id' FROM events WHERE id > {start} AND kind = 'changes' ORDER BY id",
    )
    assert found == [id_ for id_, _ in wanted]
    assert {entity for _, entity in wanted} == written


@pytest.mark.parametrize("victim", [0, 1])
def test_either_may_be_killed(
    pair: list[Replica], calls: list[httpx.Client], shared: dict[str, str], token: str, victim: int
) -> None:
    start, lost, left = newest(shared), pair[victim], pair[1 - victim]
    acknowledged: list[str] = []

    def write() -> None:
        try:
            while True:
                acknowledged.append(change(calls[victim]))
        except httpx.HTTPError:
            return

    with Watching(left, token, "sse", start, CHANGES) as other:
        with Watching(lost, token, "websocket", start, CHANGES) as watching:
            writer = threading.Thread(target=write)
            writer.start()
            watching.wait(10)
            lost.kill()
            writer.join()
            until(watching.ended, 10, "the end of the connection")
        made = change(calls[1 - victim])
        until(lambda: other.seen[-1].message["data"]["entity_id"] == made, 5, "the change")
    assert calls[1 - victim].get("auth/me").status_code == 200
    # What was acknowledged is there, and whoever watched the one that is gone gets it from the other.
    with Watching(left, token, "websocket", watching.ids[-1], CHANGES) as resumed:
        until(lambda: resumed.ids and resumed.seen[-1].message["data"]["entity_id"] == made, 10, "the rest")
    wanted = rows(shared, f"SELECT id FROM events WHERE id > {start} AND kind = 'changes' ORDER BY id")
    assert watching.ids + resumed.ids == other.ids == [id_ for (id_,) in wanted]
    kept = {rule for (rule,) in rows(shared, "SELECT id FROM alert_rules")}
    assert kept.issuperset(acknowledged)
    lost.start()
    with lost.client(token) as again, Watching(left, token, "sse", newest(shared), CHANGES) as watching:
        change(again)
        watching.wait(1)


def listening(redis_server: RedisServer) -> int:
    """How many replicas Redis would nudge."""
    with redis.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        return int(client.pubsub_numsub("headrace:events")[0][1])


def counted(redis_server: RedisServer, calls: list[httpx.Client]) -> bool:
    """Whether Redis counts what both are asked."""
    with redis.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        for call in calls:
            client.flushall()
            call.get("auth/me")
            if not client.dbsize():
                return False
        return True


@pytest.mark.parametrize("trouble", ["kill", "freeze"])
def test_redis_may_go_and_come_back(
    pair: list[Replica],
    calls: list[httpx.Client],
    shared: dict[str, str],
    token: str,
    redis_server: RedisServer,
    trouble: str,
) -> None:
    until(lambda: listening(redis_server) == 2, 20, "both at Redis")
    slowest, late = 0.0, [0.0]

    def timed(call: httpx.Client) -> float:
        began = time.monotonic()
        assert call.get("auth/me").status_code == 200
        return time.monotonic() - began

    with (
        Watching(pair[0], token, "sse", newest(shared), CHANGES) as here,
        Watching(pair[1], token, "websocket", newest(shared), CHANGES) as there,
    ):
        getattr(redis_server, trouble)()
        try:
            ends, n = time.monotonic() + 8, 0
            while time.monotonic() < ends:
                n += 2
                for call in calls:
                    began = time.monotonic()
                    change(call)
                    slowest = max(slowest, time.monotonic() - began)
                answered = time.monotonic()
                for watching in (here, there):
                    watching.wait(n, 5)
                    late.append(watching.seen[-1].at - answered)
                slowest = max(slowest, *at_once(*(partial(timed, c) for c in calls * 6)))
        finally:
            redis_server.start() if trouble == "kill" else redis_server.thaw()
        print(f"Redis away ({trouble}): slowest call {slowest:.2f} s, events after {median(late):.2f} s")
        assert slowest < BOUND
        assert median(late) < 1
        until(lambda: listening(redis_server) == 2, 20, "both at Redis again")
        until(lambda: counted(redis_server, calls), 20, "shared counting again")
        change(calls[0])
        there.wait(n + 1)
        assert here.ids == there.ids


def test_sessions_tokens_and_their_ends_hold_at_both(pair: list[Replica], admin: tuple[str, str]) -> None:
    here, there = pair
    session = logged_in(here, *admin)
    with here.client(session["access_token"]) as one, there.client(session["access_token"]) as other:
        assert other.get("auth/me").json()["name"] == admin[0]
        made = one.post("tokens", json={"name": "t", "scopes": ["*:read"]}).json()
        with there.client(made["token"]) as program:
            assert program.get("pipelines").status_code == 200
            assert other.delete(f"tokens/{made['id']}").status_code == 204
        with here.client(made["token"]) as program:
            assert program.get("pipelines").status_code == 401
        renewed = other.post("auth/refresh", json={"refresh_token": session["refresh_token"]})
        assert renewed.status_code == 200, renewed.text
    fresh = renewed.json()
    with here.client(fresh["access_token"]) as one, there.client(fresh["access_token"]) as other:
        assert one.get("auth/me").status_code == 200
        assert other.post("auth/logout").status_code == 204
        for client in (one, other):
            assert client.get("auth/me").status_code == 401
            ended = client.post("auth/refresh", json={"refresh_token": fresh["refresh_token"]})
            assert ended.status_code == 401


def test_one_key_at_both_at_once_is_one_deed(calls: list[httpx.Client]) -> None:
    for n in range(10):
        key = {"idempotency-key": f"both-{n}"}
        body = {"name": f"once-{n}", "scopes": ["*:read"]}
        answers: list[httpx.Response] = at_once(
            *(partial(c.post, "tokens", json=body, headers=key) for c in calls * 2)
        )
        said = {(a.status_code, a.json().get("code")) for a in answers}
        assert said <= {(201, None), (409, "in_progress")}
        assert len({a.json()["token"] for a in answers if a.status_code == 201}) == 1
        again = calls[n % 2].post("tokens", json=body, headers=key)
        assert again.headers["idempotency-replayed"] == "true"
    names = [t["name"] for t in calls[0].get("tokens").json()["items"]]
    assert sorted(name for name in names if name.startswith("once-")) == [f"once-{n}" for n in range(10)]


CONNECTION = {"engine": "postgres", "port": 1, "user": "u", "password": "hunter2"}


@pytest.mark.parametrize("thing", ["connections", "pipelines", "alerts/rules", "users"])
def test_of_two_who_change_the_same_at_once_one_is_refused(calls: list[httpx.Client], thing: str) -> None:
    one = f"racing-{next(_numbers)}"
    made: dict[str, JSON] = {
        "connections": {"name": one, "host": "h", "database": one, **CONNECTION},
        "pipelines": {"name": one, "source": f"{one}-a", "target": f"{one}-b"},
        "alerts/rules": {"name": one, "metric": "lag_seconds"},
        "users": {"email": f"{one}@example.org", "role": "user", "password": "long enough a password"},
    }
    if thing == "pipelines":
        for end in ("source", "target"):
            body = {**made["connections"], "name": made[thing][end], "database": made[thing][end]}
            assert calls[0].post("connections", json=body).status_code == 201
    created = calls[0].post(thing, json=made[thing])
    assert created.status_code == 201, created.text
    path, tag = f"{thing}/{created.json()['id']}", created.headers["etag"]

    def changed(n: int) -> JSON:
        return {
            "connections": {**made["connections"], "host": f"h{n}"},
            "pipelines": {**made["pipelines"], "tables": [f"public.t{n}"]},
            "alerts/rules": {**made["alerts/rules"], "threshold": n},
            "users": {"full_name": f"n{n}"},
        }[thing]

    def put(call: httpx.Client, n: int) -> httpx.Response:
        body = {k: v for k, v in changed(n).items() if k != "name" or thing == "alerts/rules"}
        return call.put(path, json=body, headers={"if-match": tag})

    for n in range(0, 40, 2):
        answers = at_once(partial(put, calls[0], n), partial(put, calls[1], n + 1))
        assert sorted(a.status_code for a in answers) == [200, 412], [a.text for a in answers]
        tag = next(a.headers["etag"] for a in answers if a.status_code == 200)
        for call in calls:
            assert call.get(path).headers["etag"] == tag


def test_logins_are_counted_by_both_together(pair: list[Replica]) -> None:
    allowed = 0
    with pair[0].client(address="10.9.9.9") as one, pair[1].client(address="10.9.9.9") as other:

        def attempt(client: httpx.Client, n: int) -> int:
            body = {"email": f"nobody-{n}@example.org", "password": "wrong"}
            return client.post("auth/login", json=body).status_code

        for n in range(8):
            codes = [attempt(client, n) for client in (one, other)]
            assert set(codes) <= {401, 429}
            allowed += codes.count(401)
        # The window slides: a few more may have become free again meanwhile.
        assert 10 <= allowed <= 12
        with pair[0].client(address="10.9.9.8") as elsewhere:
            assert attempt(elsewhere, 0) == 401


# The last one: a restore ends all sessions.
def test_no_restore_while_a_replica_lives(
    pair: list[Replica], shared: dict[str, str], tmp_path: Path
) -> None:
    def headrace(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "headrace", *words, "--data", str(tmp_path / "third"), "--json"]
        return subprocess.run(line, env=pair[0].env, capture_output=True, text=True, timeout=60, check=False)

    assert headrace("backup", str(tmp_path / "saved")).returncode == 0
    pair[0].kill()
    refused = headrace("restore", str(tmp_path / "saved"), "--replace")
    assert refused.returncode == 4, refused
    assert '"still_running"' in refused.stdout
    pair[1].kill()
    assert headrace("restore", str(tmp_path / "saved"), "--replace").returncode == 0
    for replica in pair:
        replica.start()
    for replica in pair:
        assert replica.serving(), replica.log
