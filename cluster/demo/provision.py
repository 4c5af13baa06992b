"""Enters the demo's tenants, keys, cameras and rules in the database. Idempotent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from cluster.demo.simulator import DemoCamera
from cluster.local.files import write_private
from cluster.media.urls import normalize_camera_url
from cluster.stores.db import CameraChanges, Database
from cluster.stores.db.keys import new_key
from pipelines.domain import Camera
from pipelines.errors import ConflictError

TENANTS = {"acme": "Acme Security", "globex": "Globex Fleet"}
PLATFORM = "platform"
KEY_LABEL = "demo"
OWN_CAMERA = "my-camera"
"""Id of the user's own camera, given with `make demo CAMERA=…`."""


def demo_keys(path: Path) -> dict[str, str]:
    """Secret keys of the tenants and the platform, generated once and stored in `path` (0600)."""
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        if kept.keys() == {PLATFORM, *TENANTS}:
            return kept
    keys = {name: new_key() for name in (PLATFORM, *TENANTS)}
    write_private(path, json.dumps(keys))
    return keys


async def provision(
    database: Database, cameras: Sequence[DemoCamera], keys: dict[str, str], own_url: str | None
) -> None:
    """Enter the demo in the database. Existing cameras keep the rules that the user gave them.

    Args:
        own_url: the user's own camera, added to `acme`; None removes one from an earlier run.

    Raises:
        InputError: `own_url` is not a camera URL.
    """
    platform = database.platform()
    for slug, name in TENANTS.items():
        await platform.ensure_tenant(slug, name)
    for owner, secret in keys.items():
        await platform.import_key(None if owner == PLATFORM else owner, secret, KEY_LABEL)
    for camera in cameras:
        await _put(database, camera)
    await _put_own(database, own_url)


async def _put(database: Database, camera: DemoCamera) -> None:
    records = database.tenant(camera.tenant)
    wanted = Camera(tenant=camera.tenant, id=camera.id, name=camera.name, url=camera.url)
    try:
        await records.add_camera(wanted)
    except ConflictError:
        # It exists from an earlier run. Only its address has changed.
        await records.update_camera(camera.id, CameraChanges(url=camera.url))
        return
    for rule in camera.rules:
        await records.add_rule(camera.id, rule)


async def _put_own(database: Database, own_url: str | None) -> None:
    acme = database.tenant("acme")
    known = {camera.id for camera in await acme.cameras()}
    if own_url is None:
        if OWN_CAMERA in known:
            await acme.remove_camera(OWN_CAMERA)
        return
    url = SecretStr(normalize_camera_url(own_url))
    if OWN_CAMERA in known:
        await acme.update_camera(OWN_CAMERA, CameraChanges(url=url))
    else:
        await acme.add_camera(Camera(tenant="acme", id=OWN_CAMERA, name="My camera", url=url))
