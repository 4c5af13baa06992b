"""A camera's password is stored, and appears nowhere else."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import select, text

from cluster.stores.db import Database
from cluster.stores.db.engine import database_errors
from cluster.stores.db.models import CameraRow
from cluster.stores.db.sessions import Sessions
from pipelines.errors import AtalaiaError
from tests.factories import make_camera

PASSWORD = "hunter2-never-shown"


async def test_not_in_representations_errors_or_logs(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    acme = database.tenant("acme")
    camera = make_camera(url=f"rtsp://u:{PASSWORD}@h/1", substream_url=f"rtsp://u:{PASSWORD}@h/2")
    await acme.add_camera(camera)
    shown = [repr(await acme.cameras()), repr(await database.platform().plans())]
    async with Sessions(database._engine, "acme").read() as session:
        row = (await session.scalars(select(CameraRow))).one()
        shown.append(f"{row!r} {vars(row)!r}")
    with pytest.raises(AtalaiaError) as conflict:
        await acme.add_camera(camera)
    shown.append(repr(conflict.value))
    assert PASSWORD not in "".join(shown) + caplog.text
    assert (await acme.camera("gate")).url.get_secret_value().split(":")[2] == f"{PASSWORD}@h/1"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cameras SET nowhere = '' WHERE url = :url",
        "UPDATE cameras SET url = :url, name = NULL",
        "SELECT * FROM nowhere WHERE url = :url",
    ],
)
async def test_not_in_what_a_failing_statement_raises(database: Database, statement: str) -> None:
    url = f"rtsp://u:{PASSWORD}@h/1"
    await database.tenant("acme").add_camera(make_camera(url=url))
    with pytest.raises(AtalaiaError) as caught:
        async with database_errors(), database._engine.begin() as connection:
            await connection.execute(text(statement), {"url": url})
    assert PASSWORD not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__
