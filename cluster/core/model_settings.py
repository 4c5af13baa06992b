"""The sections of the settings about models: `detector` and `embedder`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cluster.core.section import Section


class DetectorSettings(Section):
    """The object detection model."""

    weights: str = Field("yolov8n.pt", description="path, or a name that ultralytics knows")
    runtime: Literal["auto", "openvino", "tensorrt", "torch"] = Field(
        "auto", description="auto: CUDA where there is one, else OpenVINO"
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto", description="auto: fp16 on GPUs; on CPUs fp32, or bf16 where that is faster"
    )
    input_width: Annotated[int, Field(ge=64, le=1920, multiple_of=32)] = 640
    input_height: Annotated[int, Field(ge=64, le=1920, multiple_of=32)] = 384
    confidence: Annotated[float, Field(ge=0.01, le=1)] = 0.25
    iou: Annotated[float, Field(ge=0.1, le=1)] = 0.6
    max_batch: Annotated[int, Field(ge=1, le=128)] = 8
    batch_wait_ms: Annotated[float, Field(ge=0, le=100)] = 2.0
    # Above the p99 of calls on an overloaded machine (0.9 s), so that what comes late there still
    # counts; below the 5 s after which a watcher gives up.
    max_wait_ms: Annotated[float, Field(ge=50, le=4000)] = Field(
        1000.0,
        description="a frame of a camera that waited for longer is dropped and counted; the "
        "default is five periods at 5 frames/s",
    )
    replicas: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="default: 2, so that frames have a detector when one dies; 1 on GPUs, each of "
        "which takes one",
    )
    num_gpus: Annotated[float, Field(ge=0, le=8)] = Field(
        0.0, description="GPUs of each replica; a fraction shares one"
    )
    threads: Annotated[int, Field(ge=0, le=256)] = Field(0, description="0: all cores")

    @property
    def replica_count(self) -> int:
        return self.replicas or (1 if self.num_gpus else 2)


class EmbedderSettings(Section):
    """The model that embeds crops as vectors. `builtin` works offline."""

    model: str = Field("builtin", description="builtin, or a folder with a CLIP-like model")
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    num_gpus: Annotated[float, Field(ge=0, le=8)] = 0.0
