"""The choice of a runtime for this machine. Each is imported only where it is chosen: the libraries
of the others may not be installed."""

from __future__ import annotations

import ctypes
import importlib.util
from importlib.metadata import version

from cluster.inference.checkpoint import DetectorNetwork
from cluster.inference.export import ExportCache
from cluster.inference.runtime import Runtime, RuntimeOptions
from pipelines.errors import ConfigError

_NVIDIA_DRIVER = "libcuda.so.1"
"""What torch itself loads first."""


def choose_runtime(wanted: str) -> str:
    """`auto` resolved for this process: TensorRT or torch where it sees a GPU, else OpenVINO.

    Raises:
        ConfigError: TensorRT is wanted without a GPU or without its library.
    """
    if wanted not in ("auto", "tensorrt"):
        return wanted
    gpu = _sees_gpu()
    tensorrt = importlib.util.find_spec("tensorrt") is not None
    if wanted == "auto":
        return ("tensorrt" if tensorrt else "torch") if gpu else "openvino"
    if not gpu:
        raise ConfigError(
            "detector.runtime is tensorrt, but this replica sees no GPU.",
            hint="Set detector.num_gpus above 0 on a machine with one, or runtime to auto.",
        )
    if not tensorrt:
        raise ConfigError(
            "detector.runtime is tensorrt, but it is not installed.",
            hint="Install atalaia[gpu], or set runtime to auto.",
        )
    return wanted


def _sees_gpu() -> bool:
    """Whether torch has a GPU. Where none can be, torch is not imported: that takes 3 s."""
    # torch for AMD says "cuda" too, but needs no driver of NVIDIA.
    if "rocm" not in version("torch") and not _driver_loads():
        return False
    import torch

    # Ray hides the GPUs from an actor that asked for none (detector.num_gpus = 0).
    return torch.cuda.is_available()


def _driver_loads() -> bool:
    try:
        ctypes.CDLL(_NVIDIA_DRIVER)
    except OSError:
        return False
    return True


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
