"""One job, from request to stored results. Ray must be connected."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import ray
import ray.data
from ray import serve
from ray.exceptions import RayError

from cluster.batch import table
from cluster.batch.chunks import FOREVER_US, Chunk, InferenceSpec, split
from cluster.batch.extract import Extraction, ExtractRequest, extract
from cluster.batch.infer import InferenceWorker
from cluster.batch.object_index import RemoteObjectIndex
from cluster.batch.replay import Findings, Replay
from cluster.batch.request import DetectorChoice, Request, SourceLine, Summary
from cluster.batch.rule_classes import with_known_classes
from cluster.batch.sources import Rejected, Source, find_files, of_files, of_segment
from cluster.batch.writer import ResultWriter
from cluster.core.handles import deployment
from cluster.core.names import DETECTOR, FRAMES_QUOTA, JOBS_QUOTA, SERVE_APP
from cluster.core.remote import ray_errors
from cluster.core.settings import Settings
from cluster.inference.export import ExportCache
from cluster.inference.known_network import open_network
from cluster.inference.model import ModelInfo
from cluster.inference.weights import Weights, resolve_weights
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from pipelines.attention import Rates
from pipelines.clock import Clock
from pipelines.domain import CameraPlan, CountRule, LoiterRule, Rule
from pipelines.errors import AtalaiaError, InputError, ModelError, UnavailableError
from pipelines.times import rfc3339

if TYPE_CHECKING:
    from cluster.batch.local_index import LocalObjectIndex

# Before `from`. The tracker must have found what is in view, and must know what stands still as
# standing still (`tracking.FIRST_LOOK_US`). The rest is margin.
WARM_UP_US = 15_000_000
# The limit of `Request.warm_up_s` too.
MAX_WARM_UP_US = 3_600_000_000
# A month of one-minute segments.
MAX_SEGMENTS = 50_000
# Sources that the summary names one by one.
MAX_LISTED_SOURCES = 20
# What Ray reserves, not what a worker uses: jobs must start beside the live application.
WORKER_CPUS = 0.1
# Generous: the call only describes a loaded model, but the replica may be starting.
INFO_TIMEOUT_S = 20.0
# A worker decodes and runs inference in parallel.
CPUS_PER_WORKER = 2


class Job:
    """Reprocesses the video of one camera.

    Args:
        settings: all settings.
        request: what to do.
        clock: measures the duration.
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
        self._frames_per_s = math.inf

    async def run(self) -> Summary:
        """Run the job.

        Raises:
            InputError: the request names something that does not exist, like a class that the
                model lacks, or cannot be fulfilled.
            NotFoundError: there is no such camera.
            UnavailableError: a service that the job needs is down.
        """
        began_s = self._clock.monotonic()
        request, settings = self._request, self._settings
        weights = await asyncio.to_thread(self._weights)
        async with (
            Database.of(settings) as database,
            TenantBlobs(settings.blob_url, request.tenant) as blobs,
        ):
            plan = await self._plan(database, weights)
            infer_from_us = _infer_from_us(request, plan)
            sources = await self._sources(database, blobs, infer_from_us)
            spec = self._spec(plan, weights)
            self._frames_per_s = await self._quota(database)
            self._detector = await self._choose_detector(weights)
            chunks = self._chunks(sources, infer_from_us)
            if request.dry_run:
                writer = None
                await self._process(plan, spec, chunks, writer)
            else:
                index = await self._open_index()
                writer = ResultWriter(
                    plan.key, plan.rules, database, blobs, index, partial(self._extract, spec)
                )
                try:
                    await self._process(plan, spec, chunks, writer)
                finally:
                    await index.aclose()
        return self._summary(sources, chunks, weights, writer, self._clock.monotonic() - began_s)

    # ------------------------------------------------------------ inputs

    def _weights(self) -> Weights:
        name = self._request.model or self._settings.detector.weights
        try:
            return resolve_weights(name, self._settings.model_cache)
        except ModelError as error:
            raise InputError(error.message, hint=error.hint) from error

    def _with_classes_of(self, weights: Weights, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """The rules with the model's names of classes. Those of the camera are for the live model,
        and are compared where the request names another one."""
        request = self._request
        if request.rules is None and request.model is None:
            return rules
        if not any(rule.classes for rule in rules):
            return rules
        try:
            labels = open_network(weights, ExportCache(self._settings.model_cache)).labels
        except ModelError as error:
            raise InputError(error.message, hint=error.hint) from error
        return with_known_classes(rules, labels, weights.name)

    async def _plan(self, database: Database, weights: Weights) -> CameraPlan:
        records = database.tenant(self._request.tenant)
        camera = await records.camera(self._request.camera)
        rules = self._request.rules
        if rules is None:
            rules = tuple(await records.rules(camera.id))
        rules = await asyncio.to_thread(self._with_classes_of, weights, rules)
        return CameraPlan(camera=camera, rules=rules)

    async def _sources(
        self, database: Database, blobs: TenantBlobs, infer_from_us: int
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
            infer_from_us,
            FOREVER_US if request.to_us is None else request.to_us,
            limit=MAX_SEGMENTS,
        )
        if not segments:
            raise InputError(
                f"camera {request.camera} has no recordings in that time range.",
                hint="List them with `GET /v1/recordings`, or name video files.",
            )
        if len(segments) == MAX_SEGMENTS:
            raise InputError(
                f"the range holds {MAX_SEGMENTS} segments or more.",
                hint="Request a shorter range.",
            )
        return [of_segment(segment, blobs.url(segment.blob)) for segment in segments]

    async def _quota(self, database: Database) -> float:
        """Frames per second that this job may analyse: its part of the tenant's quota, which all
        jobs that may run at once divide."""
        own, usual = await database.platform().quotas(self._request.tenant), self._settings
        frames = own.get(FRAMES_QUOTA, usual.quotas.analysed_frames_per_second)
        return frames / own.get(JOBS_QUOTA, usual.batch.jobs_per_tenant)

    def _spec(self, plan: CameraPlan, weights: Weights) -> InferenceSpec:
        detector = self._settings.detector
        return InferenceSpec(
            tenant=self._request.tenant,
            camera=self._request.camera,
            fps=plan.camera.detect_fps,
            rates=Rates.of(plan.camera) if plan.camera.attention else None,
            masks=plan.camera.masks,
            weights=self._request.model or detector.weights,
            sha256=weights.sha256,
            runtime=detector.runtime,
            precision=detector.precision,
            input_size=(detector.input_width, detector.input_height),
            confidence=detector.confidence,
            iou=detector.iou,
        )

    def _chunks(self, sources: list[Source], infer_from_us: int) -> list[Chunk]:
        to_us = self._request.to_us
        chunk_us = round(self._settings.batch.chunk_s * 1e6)
        infer_to_us = FOREVER_US if to_us is None else to_us
        return list(split(sources, chunk_us, infer_from_us, infer_to_us))

    async def _choose_detector(self, weights: Weights) -> DetectorChoice:
        """Resolve `auto`, and check that `shared` is possible.

        On a GPU a second model would compete for memory and time, and joint batches fill better. On
        CPUs a model in each worker saves moving frames between processes, and the operating system
        gives live work priority, down to the millisecond.
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
            f"no running detector has the model {weights.name}.",
            hint="Start Atalaia, omit --model, or use --detector own.",
        )

    async def _running_model(self) -> str | None:
        """SHA-256 of the weights that the live detector runs; None if there is no such detector."""
        if not await _application_runs():
            return None
        async with ray_errors("detector", INFO_TIMEOUT_S):
            info = cast("ModelInfo", await deployment(DETECTOR).info.remote())
        return info.sha256

    # ------------------------------------------------------------ processing

    async def _process(
        self,
        plan: CameraPlan,
        spec: InferenceSpec,
        chunks: list[Chunk],
        writer: ResultWriter | None,
    ) -> None:
        """Run inference on every chunk, replay the detections in order, write the results."""
        replay = Replay(plan, self._request.from_us or 0)
        whole_us, done_us = sum(chunk.share_us for chunk in chunks), 0
        tables = self._tables(spec, chunks)
        for chunk in chunks:
            data, reused = await anext(tables)
            facts = table.read_facts(data)
            self._count(chunk, facts, reused)
            findings = replay.feed(
                chunk.source.url,
                table.decode(data),
                first_of_file=chunk.from_us is None,
                last_us=facts.last_us,
            )
            await self._write(findings, writer)
            done_us += chunk.share_us
            self._on_progress(done_us / whole_us)
        await self._write(replay.finish(), writer)
        self._counts["late"] = replay.late

    async def _write(self, findings: Findings, writer: ResultWriter | None) -> None:
        self._alarms.update(raised.alarm.rule for raised in findings.alarms)
        if writer is not None:
            await writer.write(findings)

    def _count(self, chunk: Chunk, facts: table.ChunkFacts, reused: bool) -> None:
        self._counts.update(
            decoded=facts.decoded, looked=facts.looked, corrupt=facts.corrupt, reused=int(reused)
        )
        if not reused:
            self._core_s += facts.core_s
        if facts.problem:
            self._problems.append(Rejected(name=chunk.source.name, reason=facts.problem))

    async def _tables(
        self, spec: InferenceSpec, chunks: list[Chunk]
    ) -> AsyncIterator[tuple[bytes, bool]]:
        """Detection tables in chunk order, with whether each was reused. Workers run ahead."""
        if not chunks:
            return
        rows = iter(self._dataset(spec, chunks).iter_rows())
        while True:
            try:
                row = await asyncio.to_thread(next, rows, None)
            except RayError as error:
                raise _worker_error(error) from error
            if row is None:
                return
            yield row["table"], bool(row["reused"])

    def _dataset(self, spec: InferenceSpec, chunks: list[Chunk]) -> ray.data.Dataset:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        # By default Ray Data wraps the error, and the original with its text stays in the worker.
        context.raise_original_map_exception = True
        # They warn about the memory that any model needs.
        context.issue_detectors_config.detectors = []
        batch = self._settings.batch
        cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        workers = batch.workers or max(1, cpus // CPUS_PER_WORKER)
        items = [{"chunk": chunk.model_dump_json()} for chunk in chunks]
        workers = min(workers, len(items))
        return ray.data.from_items(items, override_num_blocks=len(items)).map(
            InferenceWorker,  # type: ignore[arg-type]
            fn_constructor_args=(
                self._settings,
                spec,
                self._detector,
                not self._request.dry_run,
                self._frames_per_s / workers,
            ),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=WORKER_CPUS,
            num_gpus=batch.num_gpus if self._detector is DetectorChoice.OWN else 0.0,
        )

    async def _extract(
        self, spec: InferenceSpec, url: str, requests: list[ExtractRequest]
    ) -> list[Extraction]:
        task = ray.remote(extract).options(num_cpus=WORKER_CPUS)
        extractions: list[Extraction] = await task.remote(
            url, requests, spec.masks, self._settings.batch.nice
        )
        return extractions

    async def _open_index(self) -> RemoteObjectIndex | LocalObjectIndex:
        if await _application_runs():
            return RemoteObjectIndex(self._settings)
        from cluster.batch.local_index import LocalObjectIndex

        return await LocalObjectIndex.open(self._settings, self._request.tenant)

    # ------------------------------------------------------------ summary

    def _summary(
        self,
        sources: list[Source],
        chunks: list[Chunk],
        weights: Weights,
        writer: ResultWriter | None,
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
                for s in sources[:MAX_LISTED_SOURCES]
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
            new_alarms=writer.new_alarms if writer else 0,
            objects=writer.objects if writer else 0,
            paths=writer.paths if writer else 0,
            not_remembered=writer.not_indexed if writer else 0,
            media_s=round(sum(chunk.share_us for chunk in chunks) / 1e6, 3),
            wall_s=round(wall_s, 3),
            core_s=round(self._core_s, 3),
        )


def _worker_error(error: BaseException) -> AtalaiaError:
    """The error that a worker raised on purpose, unwrapped from Ray's: Ray's wrapper claims the
    same type but has none of its attributes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AtalaiaError) and not isinstance(cause, RayError):
            return cause
        inner = getattr(cause, "cause", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    return UnavailableError(
        f"a worker failed: {type(error).__name__}.",
        hint="See Ray's logs. Start the job again: it reuses finished chunks.",
    )


async def _application_runs() -> bool:
    status = await asyncio.to_thread(serve.status)
    return SERVE_APP in status.applications


def _infer_from_us(request: Request, plan: CameraPlan) -> int:
    """First capture time to analyse: `from`, minus a warm-up for trackers and timed rules."""
    if request.from_us is None:
        return 0
    if request.warm_up_s is not None:
        return request.from_us - round(request.warm_up_s * 1e6)
    longest_s = max(
        (rule.seconds for rule in plan.rules if isinstance(rule, LoiterRule | CountRule)),
        default=0.0,
    )
    return request.from_us - min(MAX_WARM_UP_US, WARM_UP_US + round(longest_s * 1e6))
