"""Search in an index of many objects, on the embedded engine, compared with a matrix product.

    python -m benchmarks.search --objects 100000

One tenant has that many objects and another a tenth, so that the tenant filter matters. Vectors
resemble those of the built-in embedder: 512 numbers, none negative, most near zero, in clusters,
because many objects look alike. Ratios matter: the same run measures the search as one product of
an in-memory matrix with the query, and its twenty best rows.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console
from rich.table import Table

from cluster.stores.vectors.tenant import TenantVectors, ensure_collection, open_vectors
from pipelines.colour import COLOURS
from pipelines.domain import Sighting, SightingFilter

DIM, LIMIT, BATCH, CAMERAS = 512, 20, 500, 20
COLLECTION = "atalaia-bench-512"
LABELS = ("person", "person", "person", "car", "car", "bicycle", "bus")
START_US, STEP_US = 1_764_000_000_000_000, 6_000_000
KINDS = 2_000
"""Clusters of vectors: objects that look alike."""

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Timing:
    """Duration of one search, milliseconds."""

    p50: float
    p95: float


@dataclass
class SearchBench:
    """The measurements. `fill_us`: time per object, in batches. `rss_mb`: growth of the process's
    memory while filling the index."""

    objects: int
    fill_us: float
    rss_mb: float
    bare: Timing
    searches: dict[str, Timing] = field(default_factory=dict)


def vectors(count: int, seed: int) -> Matrix:
    """float32 (count, DIM), rows of length 1."""
    chance = np.random.default_rng(seed)
    kinds = chance.gamma(0.1, 1.0, (KINDS, DIM)).astype(np.float32)
    rows = kinds[chance.integers(0, KINDS, count)]
    rows += 0.3 * chance.gamma(0.1, 1.0, (count, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def sightings(tenant: str, count: int, seed: int) -> Iterator[Sighting]:
    """One object every six seconds, over some cameras, classes and colours."""
    chance = np.random.default_rng(seed)
    cameras = chance.integers(0, CAMERAS, count)
    labels = chance.integers(0, len(LABELS), count)
    colours = chance.integers(0, len(COLOURS), count)
    for number in range(count):
        first_us = START_US + number * STEP_US
        yield Sighting(
            tenant=tenant,
            camera=f"cam-{cameras[number]}",
            track=f"{first_us // 1_000:011x}-00-0-{LABELS[labels[number]]}",
            label=LABELS[labels[number]],
            confidence=0.9,
            first_seen_us=first_us,
            last_seen_us=first_us + STEP_US,
            box=(0.1, 0.2, 0.3, 0.4),
            colour=COLOURS[colours[number]],
            snapshot=f"objects/cam-{cameras[number]}/{number:032x}.jpg",
        )


async def fill(index: TenantVectors, rows: Matrix, seed: int) -> float:
    """Index each row with a sighting of its own; returns the duration, seconds.

    Args:
        rows: float32 (count, DIM), rows of length 1.
    """
    started = time.perf_counter()
    waiting: list[tuple[Sighting, Matrix]] = []
    for sighting, row in zip(sightings(index.tenant, len(rows), seed), rows, strict=True):
        waiting.append((sighting, row))
        if len(waiting) == BATCH:
            await index.upsert(waiting)
            waiting = []
    await index.upsert(waiting)
    return time.perf_counter() - started


def filters(objects: int) -> dict[str, SightingFilter]:
    """Filters that users apply, from none to a very selective one."""
    hour_us = 3_600_000_000
    noon_us = START_US + objects * STEP_US // 2
    return {
        "unfiltered": SightingFilter(),
        "one class": SightingFilter(label="person"),
        "one class and colour": SightingFilter(label="car", colour="red"),
        "one camera": SightingFilter(camera="cam-7"),
        "one camera, one hour": SightingFilter(
            camera="cam-7", since_us=noon_us, until_us=noon_us + hour_us
        ),
    }


async def timed(
    search: Callable[[Matrix], Awaitable[object]], queries: Sequence[Matrix], seconds: float
) -> Timing:
    """Run the queries in turn for `seconds`, at least three of them."""
    spent: list[float] = []
    end = time.perf_counter() + seconds
    while len(spent) < 3 or time.perf_counter() < end:
        query = queries[len(spent) % len(queries)]
        started = time.perf_counter()
        await search(query)
        spent.append((time.perf_counter() - started) * 1e3)
    cuts = statistics.quantiles(spent, n=20, method="inclusive")
    return Timing(statistics.median(spent), cuts[18])


async def measure(objects: int, seconds: float = 3.0, folder: Path | None = None) -> SearchBench:
    """Fill an embedded index and search it.

    Args:
        objects: number of objects of the searching tenant.
        seconds: of each kind of search.
        folder: parent folder of the index; None: the system's temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="atalaia-search-", dir=folder) as place:
        rows, others = vectors(objects, 0), vectors(max(1, objects // 10), 1)
        queries = list(vectors(50, 2))
        process = psutil.Process()
        before = process.memory_info().rss
        client = open_vectors(path=Path(place))
        try:
            await ensure_collection(client, COLLECTION, DIM)
            took = await fill(TenantVectors(client, COLLECTION, "acme"), rows, 0)
            took += await fill(TenantVectors(client, COLLECTION, "globex"), others, 1)
            result = SearchBench(
                objects=objects,
                fill_us=took / (len(rows) + len(others)) * 1e6,
                rss_mb=(process.memory_info().rss - before) / 1e6,
                bare=await timed(_product(rows), queries, seconds),
            )
            index = TenantVectors(client, COLLECTION, "acme")
            for name, narrow in filters(objects).items():
                result.searches[name] = await timed(_search(index, narrow), queries, seconds)
        finally:
            await client.close()
    return result


def _search(index: TenantVectors, narrow: SightingFilter) -> Callable[[Matrix], Awaitable[object]]:
    return lambda query: index.search(query, LIMIT, narrow)


def _product(rows: Matrix) -> Callable[[Matrix], Awaitable[object]]:
    async def search(query: Matrix) -> object:
        scores = rows @ query
        best = np.argpartition(-scores, LIMIT)[:LIMIT]
        return best[np.argsort(-scores[best])]

    return search


def add_rows(table: Table, result: SearchBench) -> None:
    """Add the measurements to a table with the columns what, measured, aim."""
    bare = result.bare
    table.add_row(
        f"search among {result.objects:,} objects: bare matrix product",
        f"p50 {bare.p50:.1f}  p95 {bare.p95:.1f} ms",
        "",
    )
    for name, timing in result.searches.items():
        ratio = timing.p50 / bare.p50
        table.add_row(
            f"  {name}",
            f"p50 {timing.p50:.1f}  p95 {timing.p95:.1f} ms, {ratio:.1f}x the product",
            "",
        )
    table.add_row("  to index one, in batches", f"{result.fill_us:.0f} µs", "")
    table.add_row("  memory", f"{result.rss_mb:.0f} MB", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each kind of search")
    options = parser.parse_args()
    table = Table(title="The embedded index on this machine", title_justify="left")
    for name in ("what", "measured", "aim"):
        table.add_column(name)
    add_rows(table, asyncio.run(measure(options.objects, options.seconds)))
    Console().print(table)


if __name__ == "__main__":
    main()
