"""The detector as a Ray Serve deployment: frames of all cameras in, detections out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ray import serve
from ray.serve import metrics

from cluster.core.aio import all_or_none, call_foreign
from cluster.core.log import configure_logging, get_logger
from cluster.core.settings import Settings
from cluster.core.work_orders import PLATFORM, Purpose, WorkOrder, WorkOrders
from cluster.inference.batching import Batcher, BatchTimes
from cluster.inference.lanes import Lane
from cluster.inference.model import DetectionModel, ModelInfo, load_model
from cluster.inference.model_choice import ModelChoice
from cluster.stores.bus import open_redis
from pipelines.clock import SystemClock
from pipelines.domain import Detections, LetterboxedFrame, WorkOwner
from pipelines.errors import (
    AtalaiaError,
    ConfigError,
    ModelError,
    StaleFrameError,
    UnavailableError,
    WorkRefusedError,
)

# At one replica, of all tenants together; in a full lane, the tenant with most gives way.
# Live: one frame in flight per camera, so this many cameras. At 67 frames/s of a two-core replica
# the last of them would wait 4 s, and is dropped before (`detector.max_wait_ms`).
# Interactive: where cameras keep such a replica busy all the time, it leaves three calls a second,
# so the last image waits 10 s, half of what the API waits.
MAX_WAITING = {Lane.LIVE: 256, Lane.INTERACTIVE: 32, Lane.BEHIND: 256}
# What a replica holds besides: the calls that run.
MAX_RUNNING = 64
# Chosen, not measured: far above the p99 of calls through Serve on an overloaded machine (0.9 s,
# queueing included), so that only a call that hangs is taken for one.
STUCK_AFTER_S = 30.0
_STAGE_BOUNDS_MS = [1.0, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000]
_BATCH_BOUNDS = [1.0, 2, 4, 8, 16, 32, 64]


class DetectorMetrics:
    """What Prometheus sees of one replica."""

    def __init__(self) -> None:
        self._frames = metrics.Counter("atalaia_detector_frames", description="frames analysed")
        self._refused = metrics.Counter(
            "atalaia_detector_refused", description="frames refused, by cause", tag_keys=("cause",)
        )
        self._loads = metrics.Counter(
            "atalaia_detector_loads",
            description="models offered, by outcome",
            tag_keys=("outcome",),
        )
        self._stage = metrics.Histogram(
            "atalaia_detector_stage_ms",
            description="milliseconds per batch: queue (its oldest frame waited), infer",
            boundaries=_STAGE_BOUNDS_MS,
            tag_keys=("stage",),
        )
        self._waited = metrics.Histogram(
            "atalaia_detector_waited_ms",
            description="milliseconds that the oldest frame of a batch waited, by lane",
            boundaries=_STAGE_BOUNDS_MS,
            tag_keys=("lane",),
        )
        self._stale = metrics.Counter(
            "atalaia_detector_stale",
            description="frames dropped because they had waited too long",
            tag_keys=("lane",),
        )
        self._size = metrics.Histogram(
            "atalaia_detector_batch_size",
            description="frames per call of the model",
            boundaries=_BATCH_BOUNDS,
        )

    def batch(self, times: BatchTimes) -> None:
        self._frames.inc(times.size)
        self._stage.observe(times.waited_s * 1e3, tags={"stage": "queue"})
        self._stage.observe(times.ran_s * 1e3, tags={"stage": "infer"})
        self._waited.observe(times.waited_s * 1e3, tags={"lane": times.lane.name.lower()})
        self._size.observe(times.size)

    def stale(self, lane: Lane) -> None:
        self._stale.inc(tags={"lane": lane.name.lower()})

    def refused(self, cause: str) -> None:
        self._refused.inc(tags={"cause": cause})

    def load(self, outcome: str) -> None:
        self._loads.inc(tags={"outcome": outcome})


class _Engine:
    """One loaded model and the queue in front of it; they come and go together."""

    def __init__(
        self, model: DetectionModel, settings: Settings, detector_metrics: DetectorMetrics
    ) -> None:
        self.model = model
        self.batcher: Batcher[LetterboxedFrame, Detections] = Batcher(
            model.detect,
            max_batch=model.max_batch,
            parallel=model.parallel,
            wait_s=settings.detector.batch_wait_ms / 1e3,
            max_waiting=MAX_WAITING,
            max_wait_s=settings.detector.max_wait_ms / 1e3,
            clock=SystemClock(),
            observe=detector_metrics.batch,
        )

    async def aclose(self) -> None:
        await self.batcher.aclose()
        await asyncio.to_thread(self.model.close)


@serve.deployment(
    # The queue that counts is the batcher's. Serve must not hold frames back before it: its own
    # queues are first come, first served, and batches would never fill.
    max_ongoing_requests=sum(MAX_WAITING.values()) + MAX_RUNNING,
    max_queued_requests=sum(MAX_WAITING.values()),
    health_check_period_s=5,
    graceful_shutdown_timeout_s=10,
)
class Detector:
    """Looks at frames. Errors that callers see derive from AtalaiaError.

    Args:
        settings: the whole tree, parsed by whoever deploys.
    """

    def __init__(self, settings: Settings) -> None:
        configure_logging(settings.log)
        self._log = get_logger("detector")
        self._settings = settings
        self._orders = WorkOrders.of(settings, SystemClock())
        self._metrics = DetectorMetrics()
        self._last_error: str | None = None
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._loading = asyncio.Lock()
        self._first = self._load_first()
        self._engine_now: _Engine | None = None
        self._retired: set[asyncio.Task[None]] = set()

    def _load_first(self) -> DetectionModel:
        """The chosen model, or the configured one where that cannot be had: frames must flow."""
        configured = self._settings.detector.weights
        # Serve may call the constructor on a running loop; the question gets a loop of its own.
        chosen = self._loader.submit(asyncio.run, self._chosen(configured)).result()
        if chosen != configured:
            try:
                return self._load_blocking(chosen)
            except (ModelError, ConfigError) as error:
                self._refuse(chosen, error)
        return self._load_blocking(configured)

    def _refuse(self, weights: str, error: ModelError | ConfigError) -> None:
        self._last_error = str(error)
        self._metrics.load("refused")
        self._log.warning("model refused", weights=weights, reason=str(error))

    async def _chosen(self, configured: str) -> str:
        async with open_redis(self._settings.redis_url_of("detector")) as redis:
            try:
                return await ModelChoice(redis, configured).current()
            except UnavailableError as error:
                self._log.warning("the configured model is taken", reason=str(error))
                return configured

    def _load_blocking(self, weights: str) -> DetectionModel:
        return load_model(weights, self._settings.detector, self._settings.model_cache)

    @property
    def _engine(self) -> _Engine:
        # Made on first use, because its tasks belong to the loop that serves requests.
        if self._engine_now is None:
            self._engine_now = _Engine(self._first, self._settings, self._metrics)
        return self._engine_now

    async def detect(
        self, frame: LetterboxedFrame, order: WorkOrder, urgency: int = 0
    ) -> Detections:
        """What is in a camera's frame, in pixels of its source.

        Args:
            urgency: among the frames of its tenant; see `pipelines.attention.Urgency`.

        Raises:
            InputError: the frame was letterboxed to another size than `info().input_size`.
            StaleFrameError: it waited for longer than `detector.max_wait_ms`; send a newer one.
            UnavailableError: too many frames wait; retry later or drop this one.
            WorkRefusedError: the order does not prove whose frame it is.
        """
        return await self._detect(frame, self._admit(order), Lane.LIVE, urgency)

    async def detect_image(self, image: LetterboxedFrame, order: WorkOrder) -> Detections:
        """The same for an image that a program sent, behind every live frame.

        Raises:
            InputError: it was letterboxed to another size than `info().input_size`.
            UnavailableError: too many images of this tenant wait; retry later.
            WorkRefusedError: as `detect`.
        """
        return await self._detect(image, self._admit(order), Lane.INTERACTIVE)

    async def detect_many(
        self, frames: Sequence[LetterboxedFrame], order: WorkOrder
    ) -> list[Detections]:
        """The same for many frames of a job, in their order, behind everything else.

        They are fed in groups that keep the model busy, so that many jobs share the lane. Where
        one fails, the others of its group leave the queue, and no further group is fed.

        Raises:
            InputError: a frame was letterboxed to another size than `info().input_size`.
            UnavailableError: too many frames of jobs wait; retry later.
            WorkRefusedError: as `detect`.
        """
        owner, engine = self._admit(order), self._engine
        group = max(2, engine.model.parallel) * engine.model.max_batch
        results: list[Detections] = []
        for start in range(0, len(frames), group):
            results += await all_or_none(
                self._detect(frame, owner, Lane.BEHIND) for frame in frames[start : start + group]
            )
        return results

    def _admit(self, order: WorkOrder) -> WorkOwner:
        try:
            return self._orders.check(order, Purpose.DETECT)
        except WorkRefusedError as error:
            self._metrics.refused(error.code)
            raise

    async def _detect(
        self, frame: LetterboxedFrame, owner: WorkOwner, lane: Lane, urgency: int = 0
    ) -> Detections:
        engine = self._engine
        try:
            engine.model.check(frame)
            return await engine.batcher.submit(frame, owner, lane, urgency)
        except StaleFrameError:
            self._metrics.stale(lane)
            raise
        except AtalaiaError as error:
            self._metrics.refused(error.code)
            raise

    async def info(self) -> ModelInfo:
        """What runs, and why the last offered model was refused, if it was."""
        return self._engine.model.info.model_copy(update={"error": self._last_error})

    async def load(self, weights: str, order: WorkOrder) -> ModelInfo:
        """Replace the model by `weights` (path or name) without losing a frame.

        The old one serves until the new one has been read, exported, loaded and tried out, and
        then finishes what it has. With several replicas call it as `handle.broadcast("load", …)`;
        `cluster.inference.model_choice` is for those that start later.

        Raises:
            ModelError: refused; the old model keeps serving, `info().error` says why.
            WorkRefusedError: the order is not the platform's.
        """
        self._orders.check(order, Purpose.MODEL, of=PLATFORM)
        async with self._loading:
            try:
                model = await asyncio.get_running_loop().run_in_executor(
                    self._loader, call_foreign, self._load_blocking, weights
                )
            except (ModelError, ConfigError) as error:
                self._refuse(weights, error)
                raise
            old, self._engine_now = self._engine, _Engine(model, self._settings, self._metrics)
            self._last_error = None
            self._metrics.load("accepted")
            self._log.info("model replaced", old=old.model.info.name, new=model.info.name)
            closing = asyncio.create_task(old.aclose())
            self._retired.add(closing)
            closing.add_done_callback(self._retired.discard)
        return await self.info()

    async def check_health(self) -> None:
        """Raises where frames can no longer get through; Serve then replaces this replica."""
        engine = self._engine
        if engine.batcher.broken():
            raise RuntimeError("a worker of the detector ended")
        if engine.batcher.stuck_s() > STUCK_AFTER_S:
            raise RuntimeError(f"a call of the model runs for {engine.batcher.stuck_s():.0f} s")
