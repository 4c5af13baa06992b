"""Everything that a tenant has, in a folder, over real stores."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.portability.export import TenantExport
from cluster.portability.manifest import TenantManifest, verify
from cluster.stores.blobs.tenant import TenantBlobs, is_key
from cluster.stores.db.dump import PAGE
from pipelines.errors import ConflictError, InputError, UnavailableError
from tests.factories import make_alarm
from tests.integration.erasure.place import Place
from tests.integration.erasure.test_erasure_tenant import fill


@dataclass
class Told:
    """What an export told."""

    lines: int = 0
    files: int = 0
    size: int = 0
    copied_size: int = 0
    kinds: list[str] = field(default_factory=list)

    def rows(self, kind: str, lines: int) -> None:
        self.kinds.append(kind)
        self.lines += lines

    def found(self, files: int, size: int) -> None:
        self.files, self.size = files, size

    def copied(self, size: int) -> None:
        self.copied_size += size


async def export(
    place: Place, folder: Path, tenant: str = "acme", blobs: TenantBlobs | None = None
) -> tuple[TenantManifest, Told]:
    told = Told()
    dump = place.site.database.dump(tenant)
    work = TenantExport(folder, dump, blobs or place.site.blobs[tenant], place.site.clock, told)
    return await work.run(), told


def rows(folder: Path, kind: str) -> list[Any]:
    return [json.loads(line) for line in (folder / f"{kind}.jsonl").read_text().splitlines()]


def copied(folder: Path) -> set[str]:
    media = folder / "media"
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


async def test_all_of_one_tenant_and_nothing_of_another(place: Place, tmp_path: Path) -> None:
    await fill(place, "acme")
    await fill(place, "globex")
    folder = tmp_path / "out"
    manifest, told = await export(place, folder)
    assert verify(folder) == manifest
    files = {key for key in place.site.files("acme") if ".half" not in key}
    assert copied(folder) == files
    for key in files:
        there = place.site.folder / "blobs" / "acme" / key
        assert (folder / "media" / key).read_bytes() == there.read_bytes()
    counts = {listed.name.removesuffix(".jsonl"): listed.lines for listed in manifest.rows}
    assert {kind: count for kind, count in counts.items() if count} == {
        "cameras": 2, "rules": 1, "alarms": 3, "recordings": 3, "objects": 3, "paths": 3,
        "jobs": 1, "quotas": 1, "users": 1, "keys": 1, "audit": 1,
    }  # fmt: skip
    assert told.lines == sum(counts.values())
    assert (told.files, told.size) == (len(files), told.copied_size)
    assert all(row["tenant"] == "acme" for kind in counts for row in rows(folder, kind))
    everything = "".join((folder / f"{kind}.jsonl").read_text() for kind in counts)
    for secret in ("s3cr", "a hash", "digest", "globex"):
        assert secret not in everything
    assert rows(folder, "users")[0]["email"] == "ana@example.org"


async def test_files_of_somebody_else_are_left_out_and_told(place: Place, tmp_path: Path) -> None:
    """Names that this application gives to nothing, of files and of a folder."""
    await fill(place, "acme")
    folder = place.site.folder / "blobs" / "acme"
    for name in ("clips/a name.mp4", "clips/\u00e9t\u00e9.jpg", "my notes/plan.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"theirs")
    manifest, _ = await export(place, tmp_path / "out")
    assert verify(tmp_path / "out") == manifest
    assert manifest.left_out[-1].startswith("3 files or folders")
    ours = {key for key in place.site.files("acme") if is_key(key)}
    assert copied(tmp_path / "out") == {key for key in ours if ".half" not in key}


async def test_again_it_copies_only_what_changed(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _, alarm = await place.object(0)
    first, _ = await export(place, folder)
    clip, picture = folder / "media" / f"clips/{alarm.id}.mp4", f"alarms/{alarm.id}.jpg"
    before = clip.stat().st_mtime_ns
    await place.site.blobs["acme"].put(picture, b"another picture")
    await place.object(1)
    second, _ = await export(place, folder)
    verify(folder)
    assert clip.stat().st_mtime_ns == before
    assert (folder / "media" / picture).read_bytes() == b"another picture"
    assert (first.media.lines, second.media.lines) == (3, 6)
    third, _ = await export(place, folder)
    assert (third.rows, third.media) == (second.rows, second.media)


async def test_broken_off_it_goes_on(place: Place, tmp_path: Path) -> None:
    """At each file in turn: what was copied before is not copied again."""
    for number in range(3):
        await place.object(number)
    folder, files = tmp_path / "out", len(place.site.files("acme"))
    reads = 0

    class Breaking(TenantBlobs):
        left = 0

        async def read_range(self, key: str, start: int, end: int) -> bytes:
            nonlocal reads
            if self.left == 0:
                raise UnavailableError("the blob storage cannot be used.")
            self.left -= 1
            reads += 1
            return await super().read_range(key, start, end)

    async with Breaking(f"file://{place.site.folder}/blobs", "acme") as blobs:
        for _ in range(files - 1):
            blobs.left = 1
            with pytest.raises(UnavailableError):
                await export(place, folder, blobs=blobs)
            part = folder / "media.jsonl.part"
            if part.exists():
                with part.open("a") as file:
                    file.write('{"key": "torn')
        blobs.left = 1
        await export(place, folder, blobs=blobs)
    assert verify(folder).media.lines == files == reads


async def test_more_rows_than_a_page(place: Place, tmp_path: Path) -> None:
    alarms = [make_alarm(number) for number in range(PAGE + 7)]
    await place.site.database.tenant("acme").record_alarms(alarms)
    await export(place, tmp_path / "out")
    ids = [row["id"] for row in rows(tmp_path / "out", "alarms")]
    assert sorted(ids) == sorted(str(alarm.id) for alarm in alarms)


async def test_a_folder_of_somebody_else(place: Place, tmp_path: Path) -> None:
    await export(place, tmp_path / "out")
    with pytest.raises(InputError, match="another tenant"):
        await export(place, tmp_path / "out", "globex")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        await export(place, tmp_path / "full")
    with pytest.raises(InputError, match="cannot write"):
        await export(place, tmp_path / "full" / "letter.txt")
    with pytest.raises(InputError, match="no manifest"):
        verify(tmp_path / "full")


async def test_a_change_is_noticed(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _, alarm = await place.object(0)
    await export(place, folder)
    picture = folder / "media" / f"alarms/{alarm.id}.jpg"
    for change in (lambda: picture.write_bytes(b"A picture"), picture.unlink):
        change()
        with pytest.raises(ConflictError):
            verify(folder)
    with (folder / "media.jsonl").open("a") as file:
        file.write('{"key":"../../x","size":1,"version":"1","sha256":"0"}\n')
    with pytest.raises(ConflictError, match=r"media\.jsonl"):
        verify(folder)


async def test_as_a_command(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.object(0)
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    for name, value in {
        "ATALAIA_DATA_DIR": str(tmp_path / "cli"),
        "ATALAIA_DATABASE__URL": f"sqlite:///{place.site.folder}/atalaia.db",
        "ATALAIA_BLOBS__URL": f"file://{place.site.folder}/blobs",
    }.items():
        monkeypatch.setenv(name, value)

    async def atalaia(*words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, ["tenant", *words])

    folder = str(tmp_path / "out")
    made = await atalaia("export", "acme", folder)
    assert (made.exit_code, "5 rows and 3 files" in made.stdout) == (0, True), made.output
    checked = await atalaia("verify", folder)
    assert (checked.exit_code, "verified: acme" in checked.stdout) == (0, True)
    assert (await atalaia("export", "nobody", folder)).exit_code == 2
    assert len(await place.site.audited("acme", "tenant.export")) == 1
