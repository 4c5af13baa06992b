"""The choice of an embedder. What the chosen one leans on is imported only then."""

from __future__ import annotations

from pathlib import Path

from cluster.core.settings import EmbedderSettings
from cluster.inference.embedder import EmbedderInfo, EmbeddingModel

BUILTIN = "builtin"


def embedder_info(settings: EmbedderSettings) -> EmbedderInfo:
    """What the chosen embedder makes, without loading it. Raises ModelError for a broken folder."""
    if settings.model == BUILTIN:
        from cluster.inference.colour import builtin_info

        return builtin_info()
    from cluster.inference.clip import ClipFolder

    return ClipFolder.read(Path(settings.model)).info


def load_embedder(settings: EmbedderSettings) -> EmbeddingModel:
    """The chosen embedder, ready. Raises ModelError where its folder cannot be used."""
    if settings.model == BUILTIN:
        from cluster.inference.colour import ColourEmbedder

        return ColourEmbedder()
    from cluster.inference.clip import ClipEmbedder, ClipFolder

    return ClipEmbedder(ClipFolder.read(Path(settings.model)))
