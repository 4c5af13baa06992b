"""The Serve application: which deployments there are, and what each may use of a machine.

`cluster.runtime.application` deploys it with the settings in hand; Serve's own config files name it
as `serve.app:build`, with the argument `config` for the settings file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ray.serve import Application, Deployment
from ray.serve.schema import LoggingConfig

from cluster.core.handles import SERVE_ENVIRONMENT
from cluster.core.names import API, DETECTOR, EMBEDDER, MEMORY
from cluster.core.settings import Settings, load_settings
from cluster.inference.embedders import embedder_info
from pipelines.errors import ConfigError
from serve.api.deployment import Api
from serve.detector import Detector
from serve.embedder import Embedder
from serve.memory import Memory

# What Ray sets aside, not what they use: OpenVINO takes the cores it finds idle. Small enough that
# everything, and a second detector while one replaces the other, fits on two cores.
_CPUS = {DETECTOR: 0.5, EMBEDDER: 0.1, MEMORY: 0.1}

# A line per frame is no access log that anyone reads.
_LOGGING = LoggingConfig(enable_access_log=False)


def build(args: Settings | Mapping[str, str]) -> Application:
    """Bind Detector, Memory, Embedder and Api to each other.

    Args:
        args: the settings; or, from a Serve config file, `{"config": "<settings file>"}`, where an
            empty mapping means the environment's ATALAIA_CONFIG.

    Raises:
        ConfigError: the settings are wrong, or an argument is unknown.
        ModelError: the embedder's folder is broken.
    """
    settings = args if isinstance(args, Settings) else _load(args)
    detector = (
        _deployment(Detector)
        .options(
            name=DETECTOR,
            num_replicas=settings.detector.replica_count,
            ray_actor_options=resources(DETECTOR, settings.detector.num_gpus),
            logging_config=_LOGGING,
        )
        .bind(settings)
    )
    memory = (
        _deployment(Memory)
        .options(
            name=MEMORY,
            num_replicas=1,
            ray_actor_options=resources(MEMORY),
            logging_config=_LOGGING,
        )
        .bind(settings, embedder_info(settings.embedder))
    )
    embedder = (
        _deployment(Embedder)
        .options(
            name=EMBEDDER,
            num_replicas=settings.embedder.replicas,
            ray_actor_options=resources(EMBEDDER, settings.embedder.num_gpus),
            logging_config=_LOGGING,
        )
        .bind(settings, memory)
    )
    api = _deployment(Api).options(name=API, num_replicas=settings.api.replica_count)
    return api.bind(settings, detector, embedder, memory)


def _deployment(decorated: object) -> Deployment:
    # Ray types its decorator as giving back the class; what it gives is this.
    return cast("Deployment", decorated)


def _load(args: Mapping[str, str]) -> Settings:
    unknown = set(args) - {"config"}
    if unknown:
        raise ConfigError(
            f"unknown argument of the Serve application: {', '.join(sorted(unknown))}.",
            hint="The only one is config, the path of a settings file.",
        )
    return load_settings(Path(args["config"]) if "config" in args else None)


def resources(deployment: str, num_gpus: float = 0.0) -> dict[str, Any]:
    """What Ray sets aside for one replica, and the environment it starts in."""
    return {
        "num_cpus": _CPUS[deployment],
        "num_gpus": num_gpus,
        "runtime_env": {"env_vars": SERVE_ENVIRONMENT},
    }
