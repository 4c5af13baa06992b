"""The choice of a runtime for this machine. Each is imported only where it is chosen: the libraries
of the others may not be installed."""

from __future__ import annotations

import importlib.util

from cluster.inference.checkpoint import DetectorNetwork
from cluster.inference.export import ExportCache
from cluster.inference.runtime import Runtime, RuntimeOptions
from pipelines.errors import ConfigError


def choose_runtime(wanted: str) -> str:
    """`auto` resolved for this process: TensorRT or torch where it sees a GPU, else OpenVINO.

    Raises:
        ConfigError: TensorRT is wanted without a GPU or without its library.
    """
    import torch

    # Ray hides the GPUs from an actor that asked for none (detector.num_gpus = 0).
    gpu = torch.cuda.is_available()
    tensorrt = importlib.util.find_spec("tensorrt") is not None
    if wanted == "auto":
        return ("tensorrt" if tensorrt else "torch") if gpu else "openvino"
    if wanted == "tensorrt" and not gpu:
        raise ConfigError(
            "detector.runtime is tensorrt, but this replica sees no GPU.",
            hint="Set detector.num_gpus above 0 on a machine with one, or runtime to auto.",
        )
    if wanted == "tensorrt" and not tensorrt:
        raise ConfigError(
            "detector.runtime is tensorrt, but it is not installed.",
            hint="Install atalaia[gpu], or set runtime to auto.",
        )
    return wanted


def open_runtime(
    name: str,
    network: DetectorNetwork,
    weights_sha256: str,
    options: RuntimeOptions,
    cache: ExportCache,
) -> Runtime:
    """Load `network` into `openvino`, `tensorrt` or `torch`, exporting it where that is missing.

    Raises:
        ConfigError: an unknown `name`, or a precision that this machine does not have.
        ModelError: the network cannot be exported or loaded.
    """
    if name == "openvino":
        from cluster.inference.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime.open(network, weights_sha256, options, cache)
    if name == "tensorrt":
        from cluster.inference.tensorrt_runtime import TensorRtRuntime

        return TensorRtRuntime.open(network, weights_sha256, options, cache)
    if name == "torch":
        from cluster.inference.torch_runtime import TorchRuntime

        return TorchRuntime(network, options)
    raise ConfigError(f"unknown detector.runtime {name!r}.")
