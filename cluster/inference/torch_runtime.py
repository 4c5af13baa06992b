"""The detector in plain torch: GPUs without TensorRT, and CPUs where OpenVINO is not wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cluster.inference.checkpoint import DetectorNetwork
from cluster.inference.postprocess import MAX_CANDIDATES, MAX_DETECTIONS, RawDetections
from cluster.inference.runtime import RuntimeOptions
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    import torch


class TorchRuntime:
    """The network as it is, in half precision on a GPU. Batches gain there, and only there."""

    parallel = 1

    def __init__(self, network: DetectorNetwork, options: RuntimeOptions) -> None:
        import torch

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        on_gpu = self._device.type == "cuda"
        self.precision = choose_precision(options.precision, on_gpu=on_gpu)
        self.max_batch = options.max_batch if on_gpu else 1
        # Two on a GPU: one batch is copied and unpacked while the other computes.
        self.parallel = 2 if on_gpu else 1
        self._dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[
            self.precision
        ]
        if not on_gpu and options.threads:
            torch.set_num_threads(options.threads)
        module = network.module.to(self._device, self._dtype)
        self._module = module.to(memory_format=torch.channels_last)
        self._options = options
        self._end_to_end = network.end_to_end

    def infer(self, batch: npt.NDArray[np.uint8]) -> list[RawDetections]:
        import torch

        with torch.inference_mode():
            output = self._module(to_network(batch, self._device, self._dtype))
            return select_on_device(output, self._options, end_to_end=self._end_to_end)

    def close(self) -> None:
        import torch

        self._module.to("meta")
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def choose_precision(wanted: str, *, on_gpu: bool) -> str:
    """`auto` resolved: fp16 on a GPU, fp32 on a CPU. Raises ConfigError for fp16 on a CPU."""
    if wanted == "auto":
        return "fp16" if on_gpu else "fp32"
    if wanted == "fp16" and not on_gpu:
        raise ConfigError(
            "detector.precision is fp16, but torch on a CPU computes it slower than fp32.",
            hint="Set detector.precision to auto.",
        )
    return wanted


def to_network(
    batch: npt.NDArray[np.uint8], device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """uint8 (n, h, w, 3) in memory to 0..1 (n, 3, h, w) on the device, converted there."""
    import torch

    # Frames out of Ray are read-only, which torch warns of; a batch is small beside the network.
    host = torch.from_numpy(batch if batch.flags.writeable else batch.copy())
    if device.type == "cuda":
        host = host.pin_memory()
    pixels = host.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return pixels.to(dtype).div_(255).contiguous(memory_format=torch.channels_last)


def select_on_device(
    output: torch.Tensor, options: RuntimeOptions, *, end_to_end: bool
) -> list[RawDetections]:
    """Threshold and suppression where the output lies, so that only boxes that stay are copied.

    Args:
        output: (n, 4 + classes, anchors), or (n, rows, 6) where `end_to_end`.
    """
    import torch
    import torchvision

    results = []
    for frame in output.float():
        if end_to_end:
            rows = frame[frame[:, 4] >= options.confidence]
            boxes, scores, classes = rows[:, :4], rows[:, 4], rows[:, 5].long()
            kept = scores.argsort(descending=True)
        else:
            best, classes = frame[4:].max(dim=0)
            (chosen,) = torch.where(best >= options.confidence)
            if len(chosen) > MAX_CANDIDATES:
                chosen = chosen[best[chosen].topk(MAX_CANDIDATES).indices]
            scores, classes = best[chosen], classes[chosen]
            boxes = torchvision.ops.box_convert(frame[:4, chosen].T, "cxcywh", "xyxy")
            kept = torchvision.ops.batched_nms(boxes, scores, classes, options.iou)
        kept = kept[:MAX_DETECTIONS]
        results.append(
            RawDetections(
                boxes[kept].cpu().numpy(), scores[kept].cpu().numpy(), classes[kept].cpu().numpy()
            )
        )
    return results
