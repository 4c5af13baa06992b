"""A job over recordings that are still there does not bring an erased object back."""

from __future__ import annotations

import numpy as np

from cluster.batch.extract import Extraction, ExtractRequest
from cluster.batch.replay import Findings, FrameRef, RaisedAlarm, SeenObject
from cluster.batch.writer import ResultWriter
from pipelines.domain import CameraKey, Crop
from pipelines.erasure import Target
from pipelines.identity import object_snapshot_key
from tests.factories import make_alarm, make_path, make_sighting
from tests.integration.erasure.place import Place
from tests.integration.retention.site import DIM

FRAME = FrameRef("file.mp4", 0)


async def extracted(url: str, requests: list[ExtractRequest]) -> list[Extraction]:
    """Pictures as a job takes them from a file."""
    del url
    crop = np.full((8, 8, 3), 90, np.uint8)
    return [b"a picture" if request.box is None else crop for request in requests]


def found(*numbers: int) -> Findings:
    """What a job finds of some objects: each with its alarm and path."""
    sightings = [make_sighting(number) for number in numbers]
    return Findings(
        alarms=[RaisedAlarm(make_alarm(n, track=f"track-{n}"), FRAME) for n in numbers],
        objects=[SeenObject(sighting, (FRAME, (0, 0, 8, 8))) for sighting in sightings],
        paths=[make_path(number) for number in numbers],
    )


async def test_what_was_erased_is_neither_stored_nor_embedded(place: Place) -> None:
    await place.object(0)
    await place.finish("acme", await place.ask(Target("gate", "track-0")))
    vectors = place.site.vectors_of("acme")

    class Index:
        async def add(self, crop: Crop) -> None:
            await vectors.upsert([(crop.sighting, [1.0] * DIM)])

    database, blobs = place.site.database, place.site.blobs["acme"]
    writer = ResultWriter(CameraKey("acme", "gate"), (), database, blobs, Index(), extracted)
    await writer.write(found(0, 3))
    assert (writer.new_alarms, writer.objects, writer.paths) == (1, 1, 1)
    assert place.site.files() == {
        f"alarms/{make_alarm(3).id}.jpg",
        object_snapshot_key("gate", "track-3"),
    }
    assert await place.site.remembered() == await place.site.objects() == {"track-3"}
    assert await place.site.alarms() == {make_alarm(3).id}
