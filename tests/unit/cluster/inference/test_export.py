"""The export cache: built once, never half, whoever asks."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path

import pytest

from cluster.inference.export import ExportCache, ExportKey

KEY = ExportKey("ab" * 32, "openvino", "fp16-weights", (640, 384), 1, ("openvino 1", "torch 2"))


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "cd" * 32},
        {"runtime": "tensorrt"},
        {"precision": "fp16"},
        {"input_size": (384, 640)},
        {"max_batch": 8},
        {"versions": ("openvino 2", "torch 2")},
    ],
)
def test_each_part_of_the_key_decides(change: dict[str, object]) -> None:
    assert dataclasses.replace(KEY, **change).digest != KEY.digest  # type: ignore[arg-type]


def test_is_built_once(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "model.xml").write_text("graph")

    first = ExportCache(tmp_path).get(KEY, build)
    second = ExportCache(tmp_path).get(KEY, build)
    assert first == second
    assert (first / "model.xml").read_text() == "graph"
    assert len(built) == 1


def test_a_failed_build_leaves_nothing_and_the_next_one_succeeds(tmp_path: Path) -> None:
    cache = ExportCache(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "model.xml").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.get(KEY, fail)
    folder = cache.get(KEY, lambda folder: (folder / "model.xml").write_text("whole") and None)
    assert (folder / "model.xml").read_text() == "whole"
    assert not list(folder.parent.glob(".build-*"))


def test_a_dropped_export_is_built_again(tmp_path: Path) -> None:
    cache = ExportCache(tmp_path)
    cache.get(KEY, lambda folder: (folder / "model.xml").write_text("torn") and None)
    cache.drop(KEY)
    folder = cache.get(KEY, lambda folder: (folder / "model.xml").write_text("new") and None)
    assert (folder / "model.xml").read_text() == "new"


def _build_slowly(root: Path, start: multiprocessing.synchronize.Barrier) -> None:
    def build(folder: Path) -> None:
        with (root / "builds").open("a") as log:
            log.write("built\n")
        for part in range(50):
            (folder / f"part-{part}").write_bytes(b"x" * 10_000)

    start.wait()
    folder = ExportCache(root).get(KEY, build)
    if len(list(folder.glob("part-*"))) != 50:
        raise SystemExit("saw half an export")


def test_two_processes_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    processes = [context.Process(target=_build_slowly, args=(tmp_path, start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "builds").read_text() == "built\n"
