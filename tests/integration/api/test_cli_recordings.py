"""`atalaia recordings` against a running API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Protocol

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from serve.api.times import rfc3339
from tests.factories import T0_US
from tests.integration.api.world import World
from tests.recorded import pictures, segments_of, ship, units

LATER_US = T0_US + 30_000_000
WHEN = ["--from", rfc3339(T0_US), "--to", rfc3339(T0_US + 60_000_000)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Shell(Protocol):
    async def __call__(self, *words: str) -> Result: ...


@pytest.fixture
async def atalaia(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """The command line of somebody of acme, with two stretches of the camera `gate` recorded."""
    for start_us in (T0_US, LATER_US):
        files = segments_of(tmp_path / str(start_us), units(50, start_us), per_segment=20)
        await ship(files, world.database.recordings("acme"), world.blobs("acme"))
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path / "cli"))
    monkeypatch.setenv("ATALAIA_API__URL", world.url)
    monkeypatch.setenv("ATALAIA_KEY", world.keys["acme"])
    monkeypatch.chdir(tmp_path)

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["recordings", *words])

    return run


async def test_the_list_shows_stretches(atalaia: Shell) -> None:
    shown = await atalaia("list", *WHEN)
    lines = [line.split() for line in shown.stdout.splitlines()[1:]]
    assert [(line[0], line[1], line[3]) for line in lines] == [
        ("gate", rfc3339(T0_US), "3"),
        ("gate", rfc3339(LATER_US), "3"),
    ]
    rows = json.loads((await atalaia("list", *WHEN, "--json")).stdout)
    assert len(rows) == 6
    assert all("url" not in row and len(row["sha256"]) == 64 for row in rows)
    assert "there are no recordings" in (await atalaia("list", *WHEN, "--camera", "yard")).stdout


async def test_an_export_is_verified_until_somebody_touches_it(
    atalaia: Shell, tmp_path: Path
) -> None:
    made = await atalaia("export", "gate", *WHEN, "-o", "gate.mp4")
    assert made.exit_code == 0, made.output
    assert "1 gap" in made.stderr
    file, manifest = tmp_path / "gate.mp4", tmp_path / "gate.manifest.json"
    assert len(pictures(file, T0_US)) == 100
    assert "gate.mp4.part" not in names(tmp_path)

    verified = await atalaia("verify", "gate.mp4", "gate.manifest.json", "--online")
    assert verified.exit_code == 0, verified.output
    assert "100 frames of 6 files" in verified.stdout

    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(bytes(content))
    changed = await atalaia("verify", "gate.mp4", "gate.manifest.json")
    assert changed.exit_code == 2
    assert "is not what was exported" in changed.stderr
    file.write_bytes(bytes(content[:-1]))
    assert "bytes" in (await atalaia("verify", "gate.mp4", "gate.manifest.json")).stderr

    # Who forges the file and the manifest too is found out by the one that was kept.
    content[-100] ^= 1
    file.write_bytes(bytes(content))
    forged = json.loads(manifest.read_text()) | {"camera": "yard"}
    manifest.write_text(json.dumps(forged))
    assert (await atalaia("verify", "gate.mp4", "gate.manifest.json")).exit_code == 0
    online = await atalaia("verify", "gate.mp4", "gate.manifest.json", "--online")
    assert online.exit_code == 2
    assert "differs from the manifest that the API stored" in online.stderr


async def test_what_cannot_be_exported_leaves_no_file(atalaia: Shell, tmp_path: Path) -> None:
    refused = await atalaia("export", "yard", *WHEN, "-o", "yard.mp4")
    assert refused.exit_code == 2
    assert "nothing of camera yard was recorded" in refused.stderr
    nowhere = await atalaia("export", "gate", *WHEN, "-o", "none/gate.mp4")
    assert nowhere.exit_code == 2
    assert "cannot write" in nowhere.stderr
    assert not {"yard.mp4", "yard.mp4.part", "yard.manifest.json"} & names(tmp_path)


async def test_what_is_no_manifest_is_said(atalaia: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"version": 1}')
    wrong = await atalaia("verify", "a.mp4", "a.json")
    assert wrong.exit_code == 2
    assert "is not the manifest of an export" in wrong.stderr
