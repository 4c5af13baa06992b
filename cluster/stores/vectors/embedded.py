"""Qdrant's engine in this process, behind as much of its client's API as `tenant.py` calls.

Only this package may import it. The client's own local mode is a stand-in for
tests: it evaluates filters in Python, point by point. Among 10,000 objects of 512 numbers, on two
cores, a search there took 105 to 250 ms and to remember one 3.7 ms; `benchmarks/search.py` says
what they take here.

No search graph is built: with indexed filters, looking at each vector that passes them is exact and
takes milliseconds at 100,000 objects, while building the graph takes minutes of all cores.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import qdrant_edge as edge
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from cluster.core.aio import call_foreign, keep_cancellation
from cluster.stores.vectors.errors import CollectionLostError
from pipelines.errors import AtalaiaError, ConfigError, UnavailableError

_T = TypeVar("_T")
# Vectors of a segment are searched one by one, however many they are.
_NO_GRAPH = edge.EdgeOptimizersConfig(indexing_threshold=0)


class EmbeddedQdrant:
    """Collections in a folder, each a shard of its own. Calls run in a thread of its own, in turn.

    What it takes and gives are the client's models. What was written is in the engine's log when a
    call returns, and survives the end of the process.

    Args:
        path: the folder; made where it is missing, and locked until `close`.

    Raises:
        ConfigError: another process has it.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = (path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigError(
                f"another process uses the vectors in {path}.",
                hint="Only one may, or set qdrant.url to a server.",
            ) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vectors")
        self._shards: dict[str, edge.EdgeShard] = {}
        self._closed = False

    async def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_shards)
        self._thread.shutdown()
        self._lock.close()

    # ------------------------------------------------------------ collections

    async def collection_exists(self, name: str) -> bool:
        return await self._run(lambda: (self._path / name).is_dir())

    async def params(self, name: str) -> models.VectorParams:
        """Length and distance of the vectors of a collection."""

        def read() -> models.VectorParams:
            config = json.loads((self._path / name / "edge_config.json").read_text())
            params = config["vectors"][""]
            return models.VectorParams(size=params["size"], distance=params["distance"])

        return await self._run(read)

    async def create_collection(
        self,
        name: str,
        vectors_config: models.VectorParams,
        hnsw_config: models.HnswConfigDiff | None = None,
    ) -> None:
        """Does nothing where it exists. A search graph (`hnsw_config`) is not made."""

        def create() -> None:
            if (self._path / name).is_dir():
                return
            # Renamed when it is whole: half a shard could never be opened.
            half = self._path / f".{name}"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            config = edge.EdgeConfig(
                vectors=edge.EdgeVectorParams(
                    size=vectors_config.size, distance=edge.Distance.Cosine
                ),
                optimizers=_NO_GRAPH,
            )
            edge.EdgeShard.create(str(half), config).close()
            half.rename(self._path / name)

        await self._run(create)

    async def create_payload_index(
        self,
        name: str,
        field: str,
        schema: models.KeywordIndexParams | models.IntegerIndexParams,
        wait: bool = True,
    ) -> None:
        """Does nothing where there is one. No index of the engine here has a graph."""
        del wait  # it is always done when this returns
        text = isinstance(schema, models.KeywordIndexParams)
        kind = edge.PayloadSchemaType.Keyword if text else edge.PayloadSchemaType.Integer

        def create() -> None:
            shard = self._shard(name)
            if field not in shard.info().payload_schema:
                shard.update(edge.UpdateOperation.create_field_index(field, kind))

        await self._run(create)

    # ------------------------------------------------------------ points

    async def upsert(
        self,
        name: str,
        points: Sequence[models.PointStruct],
        wait: bool = True,
        timeout: int | None = None,  # noqa: ASYNC109 -- as the client has it
    ) -> None:
        del wait, timeout  # it is always done when this returns
        operation = edge.UpdateOperation.upsert_points(
            [edge.Point(str(p.id), cast("list[float]", p.vector), p.payload) for p in points]
        )
        await self._run(lambda: self._shard(name).update(operation))

    async def query_points(
        self,
        name: str,
        query: list[float],
        query_filter: models.Filter,
        limit: int,
        with_payload: bool = True,
    ) -> QueryResponse:
        request = edge.QueryRequest(
            query=edge.Query.Nearest(query),
            filter=_filter(query_filter),
            limit=limit,
            with_payload=with_payload,
        )
        found = await self._run(lambda: self._shard(name).query(request))
        return QueryResponse(
            points=[
                models.ScoredPoint(
                    id=str(p.id), version=p.version, score=p.score, payload=p.payload
                )
                for p in found
            ]
        )

    async def scroll(
        self,
        name: str,
        scroll_filter: models.Filter,
        limit: int,
        with_vectors: bool = False,
        offset: str | None = None,
    ) -> tuple[list[models.Record], str | None]:
        """The next `limit` points by id, from `offset` on, and where the next page begins; None:
        that was the last."""
        request = edge.ScrollRequest(
            filter=_filter(scroll_filter),
            limit=limit,
            with_payload=True,
            with_vector=with_vectors,
            offset=offset,
        )
        records, following = await self._run(lambda: self._shard(name).scroll(request))
        return [
            models.Record(id=str(r.id), payload=r.payload, vector=cast("list[float]", r.vector))
            for r in records
        ], None if following is None else str(following)

    async def collections(self) -> list[str]:
        """Names of those that there are."""
        return await self._run(
            lambda: sorted(
                one.name
                for one in self._path.iterdir()
                if one.is_dir() and not one.name.startswith(".")
            )
        )

    async def count(
        self, name: str, count_filter: models.Filter, exact: bool = True
    ) -> models.CountResult:
        request = edge.CountRequest(exact=exact, filter=_filter(count_filter))
        return models.CountResult(count=await self._run(lambda: self._shard(name).count(request)))

    async def delete(
        self, name: str, points_selector: models.FilterSelector, wait: bool = True
    ) -> None:
        del wait
        operation = edge.UpdateOperation.delete_points_by_filter(_filter(points_selector.filter))
        await self._run(lambda: self._shard(name).update(operation))

    # ------------------------------------------------------------ in the thread

    async def _run(self, work: Callable[[], _T]) -> _T:
        """Run in the engine's thread. Raises UnavailableError for whatever the engine raises."""
        if self._closed:
            raise UnavailableError("the vectors are closed.")
        try:
            with keep_cancellation():
                return await asyncio.get_running_loop().run_in_executor(
                    self._thread, call_foreign, work
                )
        except AtalaiaError:
            raise
        except Exception as error:
            raise UnavailableError(f"the embedded Qdrant cannot do that: {error}.") from error

    def _shard(self, name: str) -> edge.EdgeShard:
        if name not in self._shards:
            if not (self._path / name).is_dir():
                raise CollectionLostError(f"there is no collection {name}.")
            self._shards[name] = edge.EdgeShard.load(str(self._path / name))
        return self._shards[name]

    def _close_shards(self) -> None:
        while self._shards:
            _, shard = self._shards.popitem()
            shard.flush()
            shard.close()


def _filter(filter: models.Filter) -> edge.Filter:
    """The same conditions for the engine; those that `tenant.py` does not use are refused."""
    must = filter.must if isinstance(filter.must, list) else []
    if not must or filter.should or filter.must_not or filter.min_should:
        raise ValueError(f"only `must` is understood: {filter}")
    return edge.Filter(must=[_condition(condition) for condition in must])


def _condition(condition: models.Condition) -> edge.FieldCondition | edge.HasIdCondition:
    match condition:
        case models.HasIdCondition():
            return edge.HasIdCondition({str(point) for point in condition.has_id})
        case models.FieldCondition(match=models.MatchValue() as match):
            return edge.FieldCondition(condition.key, match=edge.MatchValue(match.value))
        case models.FieldCondition(match=models.MatchAny() as match):
            return edge.FieldCondition(
                condition.key, match=edge.MatchAny([str(one) for one in match.any])
            )
        case models.FieldCondition(range=models.Range() as span):
            return edge.FieldCondition(
                condition.key,
                range=edge.RangeFloat(gte=span.gte, gt=span.gt, lte=span.lte, lt=span.lt),
            )
    raise ValueError(f"this condition is not understood: {condition}")
