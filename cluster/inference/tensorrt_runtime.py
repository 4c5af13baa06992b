"""The detector on NVIDIA GPUs, through TensorRT 10.16 or newer.

The network is exported to ONNX in half precision with a free batch size, and built into an engine
that belongs to this TensorRT and this GPU model (both are in the export's key). Networks are
strongly typed: the only kind that TensorRT 11 has.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cluster.inference.checkpoint import DetectorNetwork
from cluster.inference.export import ExportCache, ExportKey
from cluster.inference.postprocess import RawDetections
from cluster.inference.runtime import EXPORT_FORMAT, RuntimeOptions, model_file, package_version
from cluster.inference.torch_runtime import choose_precision, select_on_device, to_network
from pipelines.errors import ModelError

INPUT, OUTPUT = "pixels", "boxes"
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_WORKSPACE_BYTES = 2 << 30


class TensorRtRuntime:
    """One engine with one execution context. Calls take turns on the GPU; copies overlap."""

    parallel = 2

    def __init__(
        self, engine: bytes, options: RuntimeOptions, precision: str, *, end_to_end: bool
    ) -> None:
        import tensorrt as trt

        self.precision = precision
        self.max_batch = options.max_batch
        self._options = options
        self._end_to_end = end_to_end
        self._device = torch.device("cuda")
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise ModelError("TensorRT cannot read the engine that was exported for it.")
        self._context = self._engine.create_execution_context()
        self._turn = threading.Lock()

    @classmethod
    def open(
        cls,
        network: DetectorNetwork,
        weights_sha256: str,
        options: RuntimeOptions,
        cache: ExportCache,
    ) -> TensorRtRuntime:
        """Export where needed (minutes on a first start), then load."""
        precision = choose_precision(options.precision, on_gpu=True)
        key = ExportKey(
            weights_sha256=weights_sha256,
            runtime="tensorrt",
            precision=precision,
            input_size=options.input_size,
            max_batch=options.max_batch,
            versions=(
                EXPORT_FORMAT,
                package_version("tensorrt"),
                package_version("torch"),
                package_version("ultralytics"),
                torch.cuda.get_device_name(),
            ),
        )

        def build(folder: Path) -> None:
            onnx = model_file(folder, "onnx")
            export_onnx(network, options, _DTYPES[precision], onnx, device="cuda")
            model_file(folder, "engine").write_bytes(_build_engine(onnx, options))

        def read(folder: Path) -> TensorRtRuntime:
            engine = model_file(folder, "engine").read_bytes()
            return cls(engine, options, precision, end_to_end=network.end_to_end)

        return cache.load(key, build, read, (ModelError, OSError))

    def infer(self, batch: npt.NDArray[np.uint8]) -> list[RawDetections]:
        with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            pixels = to_network(batch, self._device, _DTYPES[self.precision]).contiguous()
            output = self._run(pixels)
            return select_on_device(output, self._options, end_to_end=self._end_to_end)

    def _run(self, pixels: torch.Tensor) -> torch.Tensor:
        """Enqueue on the current stream; the context holds addresses, so one caller at a time."""
        stream = torch.cuda.current_stream()
        with self._turn:
            self._context.set_input_shape(INPUT, tuple(pixels.shape))
            shape = tuple(self._context.get_tensor_shape(OUTPUT))
            output = torch.empty(shape, dtype=pixels.dtype, device=self._device)
            self._context.set_tensor_address(INPUT, pixels.data_ptr())
            self._context.set_tensor_address(OUTPUT, output.data_ptr())
            if not self._context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT refused to run the network")
            stream.synchronize()
        return output

    def close(self) -> None:
        del self._context, self._engine
        torch.cuda.empty_cache()


def export_onnx(
    network: DetectorNetwork,
    options: RuntimeOptions,
    dtype: torch.dtype,
    path: Path,
    *,
    device: str,
) -> None:
    """Write the network as ONNX: `pixels` (n, 3, h, w) to `boxes`, n free. Needs package onnx.

    Raises:
        ModelError: the network cannot be exported.
    """
    width, height = options.input_size
    module = network.module.to(device, dtype)
    example = torch.zeros(min(2, options.max_batch), 3, height, width, dtype=dtype, device=device)
    head: Any = module.model[-1]  # type: ignore[index]
    head.dynamic = True  # the batch size is read from the input instead of being traced as a number
    try:
        with torch.inference_mode():
            torch.onnx.export(
                module,
                (example,),
                str(path),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
                opset_version=17,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        raise ModelError(f"the network cannot be exported to ONNX: {error}") from error
    finally:
        head.dynamic = False


def _build_engine(onnx: Path, options: RuntimeOptions) -> bytes:
    import tensorrt as trt

    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    graph = builder.create_network(1 << int(strongly_typed) if strongly_typed is not None else 0)
    parser = trt.OnnxParser(graph, trt.Logger(trt.Logger.WARNING))
    if not parser.parse_from_file(str(onnx)):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ModelError(f"TensorRT cannot read the network: {reasons}")
    width, height = options.input_size
    profile = builder.create_optimization_profile()
    profile.set_shape(
        INPUT,
        (1, 3, height, width),
        (options.max_batch, 3, height, width),
        (options.max_batch, 3, height, width),
    )
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    engine = builder.build_serialized_network(graph, config)
    if engine is None:
        raise ModelError("TensorRT could not build an engine for this network.")
    return bytes(engine)
