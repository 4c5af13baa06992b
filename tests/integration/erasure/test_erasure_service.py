"""The runner as the controller starts it."""

from __future__ import annotations

import asyncio
import time

from pydantic import SecretStr

from cluster.core.erasure_settings import ErasureSettings
from cluster.core.settings import BlobSettings, DatabaseSettings, LiveKitSettings, Settings
from cluster.erasure.receipt import ReceiptKeys, verify
from cluster.erasure.service import ErasureService
from cluster.stores.blobs.folder import StorageFolder
from pipelines.erasure import ErasureStep, StepState, WaitReason
from tests.integration.erasure.place import Place
from tests.integration.erasure.test_erasure_objects import A

S = ErasureStep


def make_settings(place: Place) -> Settings:
    folder = place.site.folder
    return Settings(
        data_dir=folder,
        database=DatabaseSettings(url=SecretStr(f"sqlite:///{folder}/atalaia.db")),
        blobs=BlobSettings(url=f"file://{folder}/blobs"),
        livekit=LiveKitSettings(api_secret=SecretStr("a-secret-of-at-least-32-characters")),
        erasure=ErasureSettings(settle_s=0, interval_s=0.1),
    )


async def test_it_works_from_the_start_and_waits_for_the_memory(place: Place) -> None:
    """There is no Ray here, so the memory is away: everything else is done, and then it waits."""
    await place.object(0)
    StorageFolder(place.site.folder / "blobs").mark()
    erasure = await place.ask(A)
    service = ErasureService(
        make_settings(place), place.site.database, place.redis, place.site.clock
    )
    deadline = time.monotonic() + 60
    while (await place.record("acme", erasure)).report(S.FILES).state is not StepState.DONE:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert service.running
    for _ in range(2):
        await service.aclose()
    assert not service.running
    record = await place.record("acme", erasure)
    assert record.report(S.VECTORS).reason is WaitReason.STORE_AWAY
    assert (record.receipt, place.site.files()) == (None, set())
    # Another process, with a memory, goes on.
    done = await place.finish("acme", erasure)
    assert done.receipt is not None
    assert done.counts["vectors.objects"].removed == 1


async def test_what_lies_on_a_disk_that_is_not_mounted_does_not_count_as_erased(
    place: Place,
) -> None:
    await place.object(0)
    erasure = await place.ask(A)
    (place.site.folder / "blobs").rename(place.site.folder / "disk")
    (place.site.folder / "blobs").mkdir()
    service = ErasureService(
        make_settings(place), place.site.database, place.redis, place.site.clock
    )
    deadline = time.monotonic() + 60
    while (await place.record("acme", erasure)).report(S.FILES).reason is not WaitReason.STORE_AWAY:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await service.aclose()
    record = await place.record("acme", erasure)
    assert record.report(S.FILES).state is not StepState.DONE
    assert record.receipt is None


def test_receipts_are_signed_with_the_secret_of_the_settings(place: Place) -> None:
    keys = ReceiptKeys.of(make_settings(place))
    receipt = keys.sign({"format": "atalaia-erasure-receipt-1"})
    verify(receipt, keys.public)
