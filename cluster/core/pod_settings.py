"""The section `pods`: clusters of their own, and which tenants live there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator

from cluster.core.section import Section
from pipelines.domain import Slug
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from cluster.core.settings import Settings

PodName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""Can stand in the name of a variable of the environment."""


class Placement(Section):
    """What everybody may know of a pod; its stores are in `settings.PodSettings`.

    Attributes:
        url: where its API is, for people and programs of its tenants.
    """

    url: str = Field(description="http(s):// URL of its API")
    tenants: tuple[Slug, ...] = Field((), description="who lives there, and in no other cluster")
    data_dir: Path | None = Field(None, description="default: pods/<name> in data_dir")

    @field_validator("url")
    @classmethod
    def _whole_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError("write http://host or https://host")
        return url.rstrip("/")


def check_apart(pod: str, own: Settings, others: Settings, theirs: str) -> None:
    """Two clusters share no store.

    Args:
        theirs: what the other cluster is called.

    Raises:
        ConfigError: they do, and which.
    """
    shared = [key for key, mine in _stores(own).items() if _same(mine, _stores(others)[key])]
    if shared:
        raise ConfigError(
            f"pod {pod} has the same {' and '.join(shared)} as {theirs}.",
            hint=f"Give it its own, under pods.{pod}: a pod shares no store.",
        )


def _stores(settings: Settings) -> dict[str, str]:
    """What must differ, by key; empty: nothing to compare."""
    secret, key = settings.livekit.api_secret, settings.database.encryption_key
    return {
        "data_dir": str(settings.data_dir.resolve()),
        "database.url": _place(settings.database_url),
        "redis.url": _place(settings.redis_url),
        "qdrant.url": settings.qdrant.url or str(settings.qdrant_path),
        "blobs.url": settings.blob_url,
        "livekit.url": settings.livekit.url,
        "livekit.api_secret": secret.get_secret_value(),
        "database.encryption_key": key.get_secret_value() if key else "",
        "gateway.rtsp_url": settings.gateway.rtsp_url,
        "api.url": settings.api_url,
        "ray.address": settings.ray.address or "",
    }


def _place(url: str) -> str:
    """A URL without who signs in: two logins of one server are one store."""
    return url.rpartition("@")[2]


def _same(mine: str, theirs: str) -> bool:
    mine, theirs = mine.rstrip("/"), theirs.rstrip("/")
    return bool(mine) and mine == theirs
