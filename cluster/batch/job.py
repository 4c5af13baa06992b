"""One job from what is asked to what is written. Ray must be connected."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import ray
import ray.data
from ray import serve
from ray.exceptions import RayError

from cluster.batch import table
from cluster.batch.chunks import FOREVER_US, Chunk, Look, split
from cluster.batch.extract import Cut, Wanted, cut
from cluster.batch.infer import Looker
from cluster.batch.memory import OwnMemory, ServeMemory
from cluster.batch.replay import Findings, Fold
from cluster.batch.request import DetectorChoice, Request, SourceLine, Summary
from cluster.batch.sources import Rejected, Source, find_files, of_files, of_segment
from cluster.batch.writer import Outcome
from cluster.core.handles import deployment
from cluster.core.names import DETECTOR, SERVE_APP
from cluster.core.remote import ray_errors
from cluster.core.settings import Settings
from cluster.inference.model import ModelInfo
from cluster.inference.weights import Weights, resolve_weights
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from pipelines.clock import Clock
from pipelines.domain import CameraPlan, CountRule, LoiterRule
from pipelines.errors import AtalaiaError, InputError, ModelError, UnavailableError
from pipelines.times import rfc3339

# Before `from`: what is in sight must have been found, and what stands there must be known as
# having stood there (`tracking.FIRST_LOOK_US`), with time to spare.
WARM_UP_US = 15_000_000
MAX_WARM_UP_US = 3_600_000_000
# A month of one-minute segments.
MAX_SEGMENTS = 50_000
SHOWN = 20
# What Ray sets aside, not what a worker uses: jobs must start beside the live application.
WORKER_CPUS = 0.1
INFO_TIMEOUT_S = 20.0
CPUS_PER_WORKER = 2


class Job:
    """Looks again at one camera's pictures.

    Args:
        settings: the whole tree.
        request: what is asked.
        clock: for how long it takes.
        on_progress: called with 0..1 after each chunk.
    """

    def __init__(
        self,
        settings: Settings,
        request: Request,
        clock: Clock,
        on_progress: Callable[[float], Any] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._request = request
        self._clock = clock
        self._on_progress = on_progress
        self._rejected: list[Rejected] = []
        self._problems: list[Rejected] = []
        self._counts: Counter[str] = Counter()
        self._alarms: Counter[str] = Counter()
        self._core_s = 0.0
        self._detector = request.detector

    async def run(self) -> Summary:
        """Do it.

        Raises:
            InputError: what is asked for is not there, or cannot be.
            UnavailableError: something that is needed is away.
        """
        began_s = self._clock.monotonic()
        request, settings = self._request, self._settings
        weights = await asyncio.to_thread(self._weights)
        async with (
            Database(settings.database_url) as database,
            TenantBlobs(settings.blob_url, request.tenant) as blobs,
        ):
            plan = await self._plan(database)
            look_from_us = _look_from_us(request, plan)
            sources = await self._sources(database, blobs, look_from_us)
            look = self._look(plan, weights)
            self._detector = await self._choose_detector(weights)
            chunks = self._chunks(sources, look_from_us)
            if request.dry_run:
                outcome = None
                await self._go(plan, look, chunks, outcome)
            else:
                memory = await self._memory()
                outcome = Outcome(request.tenant, database, blobs, memory, partial(self._cut, look))
                try:
                    await self._go(plan, look, chunks, outcome)
                finally:
                    await memory.aclose()
        return self._summary(sources, chunks, weights, outcome, self._clock.monotonic() - began_s)

    # ------------------------------------------------------------ what is asked

    def _weights(self) -> Weights:
        wanted = self._request.model or self._settings.detector.weights
        try:
            return resolve_weights(wanted, self._settings.model_cache)
        except ModelError as error:
            raise InputError(error.message, hint=error.hint) from error

    async def _plan(self, database: Database) -> CameraPlan:
        records = database.tenant(self._request.tenant)
        camera = await records.camera(self._request.camera)
        rules = self._request.rules
        if rules is None:
            rules = tuple(await records.rules(camera.id))
        return CameraPlan(camera=camera, rules=rules)

    async def _sources(
        self, database: Database, blobs: TenantBlobs, look_from_us: int
    ) -> list[Source]:
        request = self._request
        if request.files:
            urls = await asyncio.to_thread(
                lambda: [url for pattern in request.files for url in find_files(pattern)]
            )
            sources, self._rejected = await asyncio.to_thread(of_files, urls, request.start_us)
            return sources
        segments = await database.recordings(request.tenant).between(
            request.camera,
            look_from_us,
            FOREVER_US if request.to_us is None else request.to_us,
            limit=MAX_SEGMENTS,
        )
        if not segments:
            raise InputError(
                f"camera {request.camera} has no recordings in that time.",
                hint="See `GET /v1/recordings`, or give video files.",
            )
        if len(segments) == MAX_SEGMENTS:
            raise InputError(
                f"these are {MAX_SEGMENTS} files or more.", hint="Ask for a shorter time at once."
            )
        return [of_segment(segment, blobs.url(segment.blob)) for segment in segments]

    def _look(self, plan: CameraPlan, weights: Weights) -> Look:
        detector = self._settings.detector
        return Look(
            tenant=self._request.tenant,
            camera=self._request.camera,
            fps=plan.camera.detect_fps,
            masks=plan.camera.masks,
            weights=self._request.model or detector.weights,
            sha256=weights.sha256,
            runtime=detector.runtime,
            precision=detector.precision,
            input_size=(detector.input_width, detector.input_height),
            confidence=detector.confidence,
            iou=detector.iou,
        )

    def _chunks(self, sources: list[Source], look_from_us: int) -> list[Chunk]:
        to_us = self._request.to_us
        chunk_us = round(self._settings.batch.chunk_s * 1e6)
        look_to_us = FOREVER_US if to_us is None else to_us
        return list(split(sources, chunk_us, look_from_us, look_to_us))

    async def _choose_detector(self, weights: Weights) -> DetectorChoice:
        """`auto` resolved, and `shared` checked.

        On a GPU a second model would take memory and the time of the first, and batches of both
        fill better together. On CPUs a model in each worker saves the way of the pictures, and the
        operating system puts live work first, down to the millisecond.
        """
        wanted = self._request.detector
        if wanted is DetectorChoice.OWN:
            return wanted
        if wanted is DetectorChoice.AUTO and not self._settings.detector.num_gpus:
            return DetectorChoice.OWN
        if await self._running_model() == weights.sha256:
            return DetectorChoice.SHARED
        if wanted is DetectorChoice.AUTO:
            return DetectorChoice.OWN
        raise InputError(
            f"no detector runs {weights.name} here.",
            hint="Start Atalaia, leave --model out, or take --detector own.",
        )

    async def _running_model(self) -> str | None:
        """SHA-256 of what the live cameras' detector runs; None where there is no such detector."""
        if not await _application_runs():
            return None
        async with ray_errors("detector", INFO_TIMEOUT_S):
            info = cast("ModelInfo", await deployment(DETECTOR).info.remote())
        return info.sha256

    # ------------------------------------------------------------ doing it

    async def _go(
        self, plan: CameraPlan, look: Look, chunks: list[Chunk], outcome: Outcome | None
    ) -> None:
        """Look at every chunk, fold in order, write."""
        fold = Fold(plan, self._request.from_us or 0)
        whole_us, done_us = sum(chunk.share_us for chunk in chunks), 0
        tables = self._tables(look, chunks)
        for chunk in chunks:
            data, reused = await anext(tables)
            facts = table.read_facts(data)
            self._count(chunk, facts, reused)
            findings = fold.chunk(
                chunk.source.url,
                table.decode(data),
                begins=chunk.from_us is None,
                last_us=facts.last_us,
            )
            await self._write(findings, outcome)
            done_us += chunk.share_us
            self._on_progress(done_us / whole_us)
        await self._write(fold.finish(), outcome)
        self._counts["late"] = fold.late

    async def _write(self, findings: Findings, outcome: Outcome | None) -> None:
        self._alarms.update(raised.alarm.rule for raised in findings.alarms)
        if outcome is not None:
            await outcome.write(findings)

    def _count(self, chunk: Chunk, facts: table.ChunkFacts, reused: bool) -> None:
        self._counts.update(
            decoded=facts.decoded, looked=facts.looked, corrupt=facts.corrupt, reused=int(reused)
        )
        if not reused:
            self._core_s += facts.core_s
        if facts.problem:
            self._problems.append(Rejected(name=chunk.source.name, reason=facts.problem))

    async def _tables(self, look: Look, chunks: list[Chunk]) -> AsyncIterator[tuple[bytes, bool]]:
        """Tables of detections in the order of the chunks, while workers are ahead with others."""
        if not chunks:
            return
        rows = iter(self._dataset(look, chunks).iter_rows())
        while True:
            try:
                row = await asyncio.to_thread(next, rows, None)
            except RayError as error:
                raise _worker_error(error) from error
            if row is None:
                return
            yield row["table"], bool(row["reused"])

    def _dataset(self, look: Look, chunks: list[Chunk]) -> ray.data.Dataset:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        # What it wraps around an error leaves the error itself, and so its words, with the worker.
        context.raise_original_map_exception = True
        # It warns of memory that every model needs.
        context.issue_detectors_config.detectors = []
        batch = self._settings.batch
        cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        workers = batch.workers or max(1, cpus // CPUS_PER_WORKER)
        items = [{"chunk": chunk.model_dump_json()} for chunk in chunks]
        return ray.data.from_items(items, override_num_blocks=len(items)).map(
            Looker,  # type: ignore[arg-type]
            fn_constructor_args=(
                self._settings,
                look,
                self._detector,
                not self._request.dry_run,
            ),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
            num_cpus=WORKER_CPUS,
            num_gpus=batch.num_gpus if self._detector is DetectorChoice.OWN else 0.0,
        )

    async def _cut(self, look: Look, url: str, wanted: list[Wanted]) -> list[Cut]:
        task = ray.remote(cut).options(num_cpus=WORKER_CPUS)
        cuts: list[Cut] = await task.remote(url, wanted, look.masks, self._settings.batch.nice)
        return cuts

    async def _memory(self) -> ServeMemory | OwnMemory:
        if await _application_runs():
            return ServeMemory()
        return await OwnMemory.open(self._settings, self._request.tenant)

    # ------------------------------------------------------------ what is said

    def _summary(
        self,
        sources: list[Source],
        chunks: list[Chunk],
        weights: Weights,
        outcome: Outcome | None,
        wall_s: float,
    ) -> Summary:
        return Summary(
            tenant=self._request.tenant,
            camera=self._request.camera,
            dry_run=self._request.dry_run,
            detector=self._detector,
            model=weights.name,
            sources=len(sources),
            first_sources=tuple(
                SourceLine(name=s.name, start=rfc3339(s.start_us), start_from=s.start_from)
                for s in sources[:SHOWN]
            ),
            rejected=tuple(self._rejected),
            problems=tuple(self._problems),
            chunks=len(chunks),
            reused=self._counts["reused"],
            decoded=self._counts["decoded"],
            looked=self._counts["looked"],
            corrupt=self._counts["corrupt"],
            late=self._counts["late"],
            alarms=dict(sorted(self._alarms.items())),
            new_alarms=outcome.new_alarms if outcome else 0,
            objects=outcome.objects if outcome else 0,
            paths=outcome.paths if outcome else 0,
            not_remembered=outcome.not_remembered if outcome else 0,
            media_s=round(sum(chunk.share_us for chunk in chunks) / 1e6, 3),
            wall_s=round(wall_s, 3),
            core_s=round(self._core_s, 3),
        )


def _worker_error(error: BaseException) -> AtalaiaError:
    """What a worker raised on purpose, out of what Ray wraps around it: that claims to be of the
    same type, but is not made like it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AtalaiaError) and not isinstance(cause, RayError):
            return cause
        inner = getattr(cause, "cause", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    return UnavailableError(
        f"a worker failed: {type(error).__name__}.",
        hint="Its log is among Ray's. Start the job again: what was done is not done again.",
    )


async def _application_runs() -> bool:
    status = await asyncio.to_thread(serve.status)
    return SERVE_APP in status.applications


def _look_from_us(request: Request, plan: CameraPlan) -> int:
    """How far back to begin, so that rules that take time know what they would know."""
    if request.from_us is None:
        return 0
    if request.warm_up_s is not None:
        return request.from_us - round(request.warm_up_s * 1e6)
    longest_s = max(
        (rule.seconds for rule in plan.rules if isinstance(rule, LoiterRule | CountRule)),
        default=0.0,
    )
    return request.from_us - min(MAX_WARM_UP_US, WARM_UP_US + round(longest_s * 1e6))
