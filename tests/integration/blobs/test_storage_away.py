"""A storage that refuses or is away says so soon, and without what nobody may read."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cluster.core.settings import load_settings
from cluster.stores.blobs.storage import PART_BYTES
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.errors import AtalaiaError, ConfigError, UnavailableError
from tests.integration.blobs.world import ACCESS, SECRET, S3Server

SOON_S = 5.0
"""A client of the API waits 20 s at most; what is refused needs none of it."""

Call = Callable[[TenantBlobs, Path], Awaitable[object]]
CALLS: dict[str, Call] = {
    "put": lambda blobs, _: blobs.put("a", b"x"),
    "put_file": lambda blobs, file: blobs.put_file("a", file),
    "get": lambda blobs, _: blobs.get("a"),
    "stat": lambda blobs, _: blobs.stat("a"),
    "read_range": lambda blobs, _: blobs.read_range("a", 0, 1),
    "delete": lambda blobs, _: blobs.delete("a"),
}


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Call:
    return CALLS[request.param]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file that goes up in parts."""
    path = tmp_path / "big.mp4"
    path.write_bytes(os.urandom(3 * PART_BYTES))
    return path


async def told(s3: S3Server, url: str, call: Call, file: Path) -> str:
    """What the error says that the call raises, and soon."""
    began_s = time.monotonic()
    async with TenantBlobs(url, "acme") as blobs:
        with pytest.raises(UnavailableError) as caught:
            await call(blobs, file)
    assert time.monotonic() - began_s < SOON_S
    assert_silent(s3, caught.value)
    return caught.value.message


def assert_silent(s3: S3Server, error: AtalaiaError) -> None:
    for secret in (ACCESS, SECRET, "s3://", s3.address, "None"):
        assert secret not in str(error)


@pytest.mark.usefixtures("wrong_secret")
async def test_a_wrong_secret(s3: S3Server, call: Call, big: Path) -> None:
    said = await told(s3, s3.url, call, big)
    # The answer to a HEAD has no body, and so no word for it.
    assert "PermissionError (SignatureDoesNotMatch)" in said or "PermissionError (403)" in said


async def test_a_bucket_that_is_not_there(s3: S3Server, call: Call, big: Path) -> None:
    assert "no such bucket" in await told(s3, "s3://not-there/site", call, big)


async def test_a_server_that_is_not_there(frail: S3Server, call: Call, big: Path) -> None:
    async with TenantBlobs(frail.url, "acme") as blobs:
        await blobs.put("a", b"x")  # a connection is open
    frail.kill()
    assert "cannot be used" in await told(frail, frail.url, call, big)


async def test_a_server_that_comes_back_is_used_again(frail: S3Server) -> None:
    async with TenantBlobs(frail.url, "acme") as blobs:
        await blobs.put("a", b"x")
        frail.kill()
        with pytest.raises(UnavailableError):
            await blobs.get("a")
        frail.start()
        assert await blobs.get("a") == b"x"


async def test_a_server_that_hangs_holds_nobody_up_for_longer(
    frail: S3Server,
) -> None:
    """Twenty calls, five times as many as may run at once: all end in time, and the next one after
    it is well does not wait for what was given up."""
    async with TenantBlobs(frail.url, "acme", timeout_s=3.0) as blobs:
        await blobs.put("a", b"x")
        frail.hang()
        began_s = time.monotonic()
        results = await asyncio.gather(*(blobs.get("a") for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - began_s < 9.0, "one after the other they take 15 s"
        assert {type(result) for result in results} == {UnavailableError}
        frail.resume()
        began_s = time.monotonic()
        assert await blobs.get("a") == b"x"
        assert time.monotonic() - began_s < 3.0


async def test_an_upload_that_breaks_off_leaves_what_was_there(frail: S3Server, big: Path) -> None:
    async with TenantBlobs(frail.url, "acme") as blobs:
        await blobs.put("a", b"older")
        asyncio.get_running_loop().call_later(0.02, frail.kill)
        with pytest.raises(UnavailableError):
            await blobs.put_file("a", big)
        frail.start()
        assert await blobs.get("a") == b"older"
        await blobs.put_file("a", big)
        assert (await blobs.stat("a")).size == 3 * PART_BYTES


@pytest.mark.parametrize(
    "url",
    [
        f"s3://{ACCESS}:{SECRET}@bucket/site",
        f"S3://{ACCESS}@bucket",
        f"s3a://{ACCESS}:{SECRET}",
        "gs://user:password@bucket",
    ],
)
def test_credentials_have_no_place_in_a_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATALAIA_BLOBS__URL", url)
    for refused in (lambda: TenantBlobs(url, "acme"), load_settings):
        with pytest.raises(ConfigError, match="environment") as caught:
            refused()
        for secret in (ACCESS, SECRET, "password"):
            assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["s3://bucket/a:b@c", "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/x/site"]
)
def test_what_only_looks_like_credentials_is_taken(url: str) -> None:
    TenantBlobs(url, "acme")
