"""The detector on CPUs.

Measured on two cores (AMD EPYC with avx512_bf16, OpenVINO 2026.4, yolov8n, 384x640), frames/s,
single runs of 3 s; the machine was quiet rather than idle (load 1 to 2), so a few frames/s between
rows mean nothing:

| configuration                                  | quiet        | one other busy process |
|------------------------------------------------|--------------|------------------------|
| f32, one stream of two threads                 | 35           |                        |
| bf16, LATENCY, float NCHW in (ready made)      | 45           |                        |
| bf16, LATENCY: one stream of two threads       | 63           | 32                     |
| bf16, batches of 4 (8), one stream             | 66 (65)      | 16                     |
| bf16, THROUGHPUT: two streams of one thread    | 67           | 49                     |
| the same with three requests in flight         | 68           | 49                     |

bf16 is not faster everywhere; `cpu_precision` measures.

So: uint8 goes in and the graph normalises; no batches; independent one-thread streams. Beside the
detector the same cores decode video, and a stream of two threads waits for the slower one whenever
either is taken away, which is what halves it in the right column.
"""

from __future__ import annotations

import queue
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino.preprocess import PrePostProcessor

from cluster.inference.checkpoint import DetectorNetwork
from cluster.inference.cpu_precision import cpu_identity, fastest, read_choice, save_choice
from cluster.inference.export import ExportCache, ExportKey
from cluster.inference.postprocess import RawDetections, select, select_end_to_end
from cluster.inference.runtime import EXPORT_FORMAT, RuntimeOptions, model_file, package_version
from pipelines.errors import ConfigError, ModelError

_DEVICE = "CPU"
_HINTS = {"bf16": "bf16", "fp16": "f16", "fp32": "f32"}
_CAPABILITIES = {"bf16": "BF16", "fp16": "FP16", "fp32": "FP32"}


class OpenVinoRuntime:
    """One compiled network with a pool of requests; `infer` may be called from many threads."""

    max_batch = 1

    def __init__(
        self,
        compiled: ov.CompiledModel,
        options: RuntimeOptions,
        precision: str,
        *,
        end_to_end: bool,
    ) -> None:
        self.precision = precision
        streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # One more than there are streams: its result is read while the streams compute.
        self.parallel = streams + 1
        self._options = options
        self._end_to_end = end_to_end
        self._requests: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        for _ in range(self.parallel):
            self._requests.put(compiled.create_infer_request())

    @classmethod
    def open(
        cls,
        network: DetectorNetwork,
        weights_sha256: str,
        options: RuntimeOptions,
        cache: ExportCache,
    ) -> OpenVinoRuntime:
        """Export where needed, then load."""
        key = ExportKey(
            weights_sha256=weights_sha256,
            runtime="openvino",
            precision="fp16-weights",  # the file; in what it computes is chosen when it is compiled
            input_size=options.input_size,
            max_batch=cls.max_batch,
            versions=(
                EXPORT_FORMAT,
                package_version("openvino"),
                package_version("torch"),
                package_version("ultralytics"),
            ),
        )

        def build(folder: Path) -> None:
            _export(network, options.input_size, model_file(folder, "xml"))

        core = ov.Core()

        def read(folder: Path) -> ov.Model:
            return core.read_model(model_file(folder, "xml"))

        graph = _with_preprocessing(cache.load(key, build, read, (RuntimeError,)))
        possible = possible_precisions(core, options.precision)
        precision = possible[0]
        if len(possible) > 1:
            of_this_cpu = replace(
                key, precision="fastest", versions=(*key.versions, cpu_identity())
            )
            precision = _fastest(core, graph, possible, options, cache, of_this_cpu)
        compiled = _compile(core, graph, precision, options)
        return cls(compiled, options, precision, end_to_end=network.end_to_end)

    def infer(self, batch: npt.NDArray[np.uint8]) -> list[RawDetections]:
        request = self._requests.get()
        try:
            return [self._infer_one(request, frame[None]) for frame in batch]
        finally:
            self._requests.put(request)

    def _infer_one(self, request: ov.InferRequest, frame: npt.NDArray[np.uint8]) -> RawDetections:
        # Shared outputs are views into the request: read them before the request is given back.
        results = request.infer([frame], share_inputs=True, share_outputs=True)
        output = results[0][0]
        if self._end_to_end:
            return select_end_to_end(output, confidence=self._options.confidence)
        return select(output, confidence=self._options.confidence, iou=self._options.iou)

    def close(self) -> None:
        while not self._requests.empty():
            self._requests.get()


def possible_precisions(core: ov.Core, wanted: str) -> tuple[str, ...]:
    """What `wanted` leaves to choose from on this CPU: for `auto` float32 and, where it can, bf16.

    Raises:
        ConfigError: the wanted precision would have to be emulated.
    """
    capabilities = core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    if wanted == "auto":
        return ("fp32", "bf16") if "BF16" in capabilities else ("fp32",)
    if _CAPABILITIES[wanted] not in capabilities:
        raise ConfigError(
            f"detector.precision is {wanted}, but this CPU cannot compute in it.",
            hint="Set detector.precision to auto.",
        )
    return (wanted,)


def _compile(
    core: ov.Core, graph: ov.Model, precision: str, options: RuntimeOptions
) -> ov.CompiledModel:
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "ENABLE_CPU_PINNING": options.pinned,
    }
    if options.threads:
        config["INFERENCE_NUM_THREADS"] = options.threads
    return core.compile_model(graph, _DEVICE, config)


def _fastest(
    core: ov.Core,
    graph: ov.Model,
    precisions: tuple[str, ...],
    options: RuntimeOptions,
    cache: ExportCache,
    key: ExportKey,
) -> str:
    """The fastest of `precisions`, measured where the cache does not know it for this CPU."""

    def measure(folder: Path) -> None:
        width, height = options.input_size
        frame = np.full((1, height, width, 3), 114, np.uint8)
        requests = {
            name: _compile(core, graph, name, options).create_infer_request() for name in precisions
        }
        save_choice(
            folder,
            fastest({name: partial(each.infer, [frame]) for name, each in requests.items()}),
        )

    return cache.load(key, measure, partial(read_choice, precisions=precisions), (ValueError,))


def _with_preprocessing(graph: ov.Model) -> ov.Model:
    """uint8 NHWC in; the graph itself converts, scales to 0..1 and transposes."""
    steps = PrePostProcessor(graph)
    picture = steps.input(0)
    picture.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    picture.model().set_layout(ov.Layout("NCHW"))
    picture.preprocess().convert_element_type(ov.Type.f32).scale(255.0)
    return steps.build()


def _export(network: DetectorNetwork, input_size: tuple[int, int], path: Path) -> None:
    import torch

    width, height = input_size
    example = torch.zeros(1, 3, height, width)
    try:
        with torch.inference_mode():
            network.module(example)  # fills the anchors, so that they are traced as constants
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                network.module, example, strict=False, check_trace=False
            )
        graph = ov.convert_model(traced, example_input=example, input=[1, 3, height, width])
    except (RuntimeError, ov.frontend.OpConversionFailure) as error:
        raise ModelError(f"the network cannot be converted for OpenVINO: {error}") from error
    ov.save_model(graph, path, compress_to_fp16=True)
