"""The publisher against a server that is there, away, dies, and comes back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cluster.stores.bus import (
    AlarmPublisher,
    AlarmStream,
    PublishOutcome,
    SpoolFullError,
    open_redis,
    replay_left_spools,
)
from cluster.stores.bus.spool_file import PAGE_BYTES, SpoolFile
from pipelines.errors import ConfigError, UnavailableError
from tests.factories import make_alarm
from tests.integration.conftest import ValkeyServer
from tests.ports import free_port
from tests.unit.cluster.stores.bus.spools import old_line

PATIENCE_S = 20.0
"""No watcher waits this long; here what counts is where an alarm goes, on any machine."""


async def _until(done: Callable[[], bool], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not done():  # noqa: ASYNC110 - what it waits for is in another thread
            await asyncio.sleep(0.02)


async def _on_stream(redis: Redis, tenant: str = "acme") -> list[int]:
    entries = await AlarmStream(redis, tenant).read("0", count=100_000)
    return [entry.alarm.frame_id for entry in entries]


async def test_straight_to_redis(valkey: str, redis_client: Redis, tmp_path: Path) -> None:
    async with AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:
        assert await publisher.publish(make_alarm(1)) is PublishOutcome.PUBLISHED
        assert await publisher.publish(make_alarm(1)) is PublishOutcome.KNOWN
        assert await publisher.publish(make_alarm(1, "globex")) is PublishOutcome.PUBLISHED
        stats = publisher.stats
    assert (stats.published, stats.known, stats.spooled, stats.pending) == (2, 1, 0, 0)
    assert await _on_stream(redis_client) == [1]
    assert await _on_stream(redis_client, "globex") == [1]


async def test_from_many_threads_and_loops(
    valkey: str, redis_client: Redis, tmp_path: Path
) -> None:
    """As watchers use it: each runs in a thread with a loop of its own."""
    async with AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:

        async def watch(camera: int) -> None:
            for number in range(20):
                await publisher.publish(make_alarm(number, camera=f"cam-{camera}"))

        threads = [threading.Thread(target=lambda n=n: asyncio.run(watch(n))) for n in range(8)]
        for thread in threads:
            thread.start()
        await _until(lambda: not any(thread.is_alive() for thread in threads))
        assert publisher.stats.published == 160
    entries = await AlarmStream(redis_client, "acme").read("0", count=1000)
    for camera in range(8):
        of_camera = [e.alarm.frame_id for e in entries if e.alarm.camera == f"cam-{camera}"]
        assert of_camera == list(range(20)), "each watcher's alarms keep their order"


@pytest.mark.parametrize("callers", [1, 50])
async def test_the_caller_does_not_wait_for_a_dead_redis(tmp_path: Path, callers: int) -> None:
    """A server that accepts and never answers is the worst case: nothing fails by itself."""
    silent = await asyncio.start_server(lambda _r, _w: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    publisher = AlarmPublisher(f"redis://127.0.0.1:{port}/0", tmp_path, "host-0", timeout_s=0.3)
    await publisher.start()
    started = time.monotonic()
    outcomes = await asyncio.gather(*(publisher.publish(make_alarm(n)) for n in range(callers)))
    first_s = time.monotonic() - started
    assert set(outcomes) == {PublishOutcome.SPOOLED}
    assert first_s < 0.3 + 0.5
    started = time.monotonic()
    await publisher.publish(make_alarm(1000))
    assert time.monotonic() - started < 0.25, "once it is known, nobody tries first"
    await publisher.aclose()
    silent.close()


async def test_what_waits_follows_in_order_when_redis_comes(
    start_valkey: Callable[[], ValkeyServer], tmp_path: Path
) -> None:
    server = start_valkey()
    async with AlarmPublisher(server.url, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:
        for number in range(5):
            await publisher.publish(make_alarm(number))
        server.kill()
        for number in range(5, 25):
            assert await publisher.publish(make_alarm(number)) is PublishOutcome.SPOOLED
        server.start()
        await _until(lambda: publisher.stats.pending == 0)
        assert await publisher.publish(make_alarm(25)) is PublishOutcome.PUBLISHED
        stats = publisher.stats
    assert (stats.published, stats.spooled, stats.replayed) == (6, 20, 20)
    client = open_redis(server.url)
    assert await _on_stream(client) == list(range(26))
    await client.aclose()


async def test_what_redis_took_and_forgot_is_published_again(
    start_valkey: Callable[[], ValkeyServer], tmp_path: Path
) -> None:
    """The worst case: it dies without any file. Nobody publishes anything afterwards, so that the
    publisher has to notice by itself."""
    server = start_valkey()
    server.stop()
    server.append_only = False
    server.start()
    async with AlarmPublisher(server.url, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:
        for number in range(5):
            await publisher.publish(make_alarm(number))
        server.kill()
        server.start()
        await _until(lambda: publisher.stats.restored == 5)
        client = open_redis(server.url)
        assert await _on_stream(client) == [0, 1, 2, 3, 4]
        server.kill()
        server.start()
        await publisher.publish(make_alarm(5))
        await _until(lambda: publisher.stats.restored == 10)
        await _until(lambda: publisher.stats.pending == 0)
    assert await _on_stream(client) == [0, 1, 2, 3, 4, 5], "in order, before what came later"
    await client.aclose()


async def test_a_full_spool_refuses_and_counts(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    # A page for the schema, and one that one alarm fills.
    bound, large = 2 * PAGE_BYTES, {"snapshot": "x" * (PAGE_BYTES // 2)}
    async with AlarmPublisher(url, tmp_path, "host-0", max_spool_bytes=bound) as publisher:
        assert await publisher.publish(make_alarm(0, **large)) is PublishOutcome.SPOOLED
        for number in (1, 2, 3):
            with pytest.raises(SpoolFullError):
                await publisher.publish(make_alarm(number, **large))
        stats = publisher.stats
        assert (stats.spooled, stats.refused, stats.pending) == (1, 3, 1)


async def test_the_next_start_sends_what_was_left(
    valkey: str, redis_client: Redis, tmp_path: Path
) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    async with AlarmPublisher(away, tmp_path, "host-0") as publisher:
        for number in range(3):
            await publisher.publish(make_alarm(number))
    async with AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:
        await _until(lambda: publisher.stats.replayed == 3)
    assert await _on_stream(redis_client) == [0, 1, 2]


async def test_what_another_host_left_can_be_sent(
    valkey: str, redis_client: Redis, tmp_path: Path
) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    for name in ("host-1", "host-2"):
        async with AlarmPublisher(away, tmp_path, name) as publisher:
            await publisher.publish(make_alarm(int(name[-1])))
    async with AlarmPublisher(away, tmp_path, "host-2"):
        assert await replay_left_spools(valkey, tmp_path) == 1, "host-2 is alive"
    assert await replay_left_spools(valkey, tmp_path) == 1
    assert await replay_left_spools(valkey, tmp_path / "missing") == 0
    assert await _on_stream(redis_client) == [1, 2]


async def test_what_an_earlier_version_left_is_sent(
    valkey: str, redis_client: Redis, tmp_path: Path
) -> None:
    """By the host of the same name, or by the controller where that host does not come back."""
    for name, number in (("host-1", 1), ("host-2", 2)):
        payload = make_alarm(number).model_dump_json().encode()
        (tmp_path / f"{name}.spool").write_bytes(old_line(payload))
    async with AlarmPublisher(valkey, tmp_path, "host-1", timeout_s=PATIENCE_S) as publisher:
        await _until(lambda: publisher.stats.replayed == 1)
    assert await replay_left_spools(valkey, tmp_path) == 1
    assert await _on_stream(redis_client) == [1, 2]
    assert await replay_left_spools(valkey, tmp_path) == 0


async def test_a_cancelled_caller_does_not_lose_its_alarm(
    valkey: str, redis_client: Redis, tmp_path: Path
) -> None:
    async with AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:
        publishing = asyncio.create_task(publisher.publish(make_alarm(7)))
        await asyncio.sleep(0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
    assert await _on_stream(redis_client) == [7]


async def test_a_cancelled_caller_on_another_loop_does_not_lose_its_alarm(
    valkey: str, redis_client: Redis, tmp_path: Path
) -> None:
    async with AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:

        async def give_up() -> None:
            publishing = asyncio.create_task(publisher.publish(make_alarm(7)))
            await asyncio.sleep(0)
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing

        watcher = threading.Thread(target=lambda: asyncio.run(give_up()))
        watcher.start()
        watcher.join()  # this loop has had no turn yet
        await _until(lambda: publisher.stats.published == 1)
    assert await _on_stream(redis_client) == [7]


async def test_the_loop_does_not_wait_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has the publisher a thread beside the one that does."""
    writers = set()

    def append(_spool: SpoolFile, _payload: bytes) -> None:
        writers.add(threading.current_thread().name)
        time.sleep(0.5)

    monkeypatch.setattr(SpoolFile, "append", append)
    before = set(threading.enumerate())
    away = f"redis://127.0.0.1:{free_port()}/0"
    async with AlarmPublisher(away, tmp_path, "host-0") as publisher:
        publishing = asyncio.create_task(publisher.publish(make_alarm(1)))
        turns = 0
        while not publishing.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 10
        assert {thread.name for thread in set(threading.enumerate()) - before} == writers
        assert len(writers) == 1


async def test_one_publisher_per_name(valkey: str, tmp_path: Path) -> None:
    async with AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S):
        second = AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S)
        with pytest.raises(ConfigError, match="in use"):
            await second.start()
        async with AlarmPublisher(valkey, tmp_path, "host-1", timeout_s=PATIENCE_S):
            pass
    with pytest.raises(ConfigError, match="cannot name"):
        AlarmPublisher(valkey, tmp_path, "../host")


async def test_closed_means_closed(valkey: str, tmp_path: Path) -> None:
    before = threading.active_count()
    publisher = AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S)
    with pytest.raises(UnavailableError):
        await publisher.publish(make_alarm())
    await publisher.start()
    await publisher.aclose()
    await publisher.aclose()
    with pytest.raises(UnavailableError):
        await publisher.publish(make_alarm())
    assert threading.active_count() <= before
    never_started = AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S)
    await never_started.aclose()


_VICTIM = """
import asyncio, sys
from pathlib import Path
from cluster.stores.bus import AlarmPublisher
from cluster.core.log import configure_logging
from cluster.core.settings import LogSettings
from tests.factories import make_alarm

configure_logging(LogSettings())  # to stderr

async def main():
    async with AlarmPublisher(sys.argv[1], Path(sys.argv[2]), "host-0") as publisher:
        for number in range(100_000):
            await publisher.publish(make_alarm(number))
            print(number, flush=True)

asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing_that_publish_returned_for(
    valkey: str, redis_client: Redis, tmp_path: Path
) -> None:
    """SIGKILL while alarms go to the spool; the next process sends them."""
    away = f"redis://127.0.0.1:{free_port()}/0"
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _VICTIM, away, str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert victim.stdout is not None
    reported = 0
    while reported < 40:
        reported = int(await victim.stdout.readline())
    victim.send_signal(signal.SIGKILL)
    rest = (await victim.communicate())[0].split()
    reported = int(rest[-1]) if rest else reported
    async with AlarmPublisher(valkey, tmp_path, "host-0", timeout_s=PATIENCE_S) as publisher:
        await _until(lambda: publisher.stats.pending == 0)
    sent = await _on_stream(redis_client)
    assert sent == list(range(len(sent)))
    assert len(sent) in (reported + 1, reported + 2), "at most the one in work is extra"
