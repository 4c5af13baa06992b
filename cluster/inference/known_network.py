"""What was found in a weights file, kept beside its exports.

Reading a checkpoint takes torch and ultralytics: 4 s of processor time and 300 MB for a process
that then runs an export which exists already. What such a process must know of the checkpoint are
the names of its classes and how its output is laid out.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from cluster.inference.checkpoint import DetectorNetwork, load_network
from cluster.inference.export import ExportCache, ExportKey
from cluster.inference.runtime import EXPORT_FORMAT, package_version
from cluster.inference.weights import Weights
from pipelines.domain import Frozen

_FILE = "network.json"


class NetworkFacts(Frozen):
    """What a process that does not read the checkpoint knows of it: see `DetectorNetwork`."""

    labels: tuple[str, ...]
    end_to_end: bool


def open_network(weights: Weights, cache: ExportCache) -> DetectorNetwork:
    """The network in `weights`. A file that passed the checks of `load_network` before, with the
    same libraries, is read again only where the module itself is needed.

    Raises:
        ModelError: not a model, cut off, holds more than a model, or no detector.
    """
    read: list[DetectorNetwork] = []

    def build(folder: Path) -> None:
        read.append(load_network(weights))
        facts = NetworkFacts(labels=read[-1].labels, end_to_end=read[-1].end_to_end)
        (folder / _FILE).write_text(facts.model_dump_json())

    def facts_in(folder: Path) -> NetworkFacts:
        return NetworkFacts.model_validate_json((folder / _FILE).read_bytes())

    facts = cache.load(_key(weights), build, facts_in, (ValidationError, FileNotFoundError))
    if read:
        return read[-1]
    return DetectorNetwork(lambda: load_network(weights).module, facts.labels, facts.end_to_end)


def _key(weights: Weights) -> ExportKey:
    return ExportKey(
        weights_sha256=weights.sha256,
        runtime="checkpoint",
        precision="",
        input_size=(0, 0),
        max_batch=0,
        versions=(EXPORT_FORMAT, package_version("torch"), package_version("ultralytics")),
    )
