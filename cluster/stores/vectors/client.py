"""Clients of Qdrant: of a server, or of the engine in this process."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient

from cluster.core.settings import Settings
from cluster.stores.vectors.embedded import EmbeddedQdrant
from cluster.stores.vectors.errors import qdrant_errors
from cluster.stores.vectors.tokens import CollectionTokens
from pipelines.clock import SystemClock
from pipelines.errors import ConfigError, UnavailableError

# A search in the server takes a few milliseconds; this bounds a server that hangs.
TIMEOUT_S = 10

VectorClient = AsyncQdrantClient | EmbeddedQdrant
"""For annotations elsewhere, so that only this package imports either."""


def open_vectors(
    *,
    url: str | None = None,
    api_key: SecretStr | None = None,
    tokens: CollectionTokens | None = None,
    path: Path | None = None,
) -> VectorClient:
    """A client of a server (`url`), or the engine embedded in this process (`path`).

    Args:
        tokens: sent in the place of `api_key`.

    Raises:
        ConfigError: neither or both are given, or another process has the folder.
    """
    if (url is None) == (path is None):
        raise ConfigError("give either the URL of a Qdrant server or a folder.")
    if url is not None:
        key = api_key.get_secret_value() if api_key and tokens is None else None
        return AsyncQdrantClient(
            url=url,
            api_key=key,
            auth_token_provider=tokens,
            timeout=TIMEOUT_S,
            # It would be a blocking call, here, in the constructor.
            check_compatibility=False,
        )
    assert path is not None
    return EmbeddedQdrant(path)


def connect(settings: Settings) -> VectorClient:
    """The configured client: a server, else the engine in `data_dir`.

    Raises:
        UnavailableError: another process still has the embedded engine's folder.
    """
    if settings.qdrant.url is not None:
        return open_vectors(url=settings.qdrant.url, api_key=settings.qdrant.api_key)
    try:
        return open_vectors(path=settings.qdrant_path)
    except ConfigError as error:
        raise UnavailableError(error.message, hint=error.hint) from error


def open_collection(settings: Settings, name: str) -> VectorClient:
    """The client for work in a collection: where the server checks tokens, one that may do nothing
    else, so `connect` makes the collection; otherwise what `connect` gives.

    Raises:
        ConfigError: the tokens cannot be signed, because there is no API key.
        UnavailableError: another process still has the embedded engine's folder.
    """
    qdrant = settings.qdrant
    if qdrant.url is None or not qdrant.tokens:
        return connect(settings)
    if qdrant.api_key is None:
        raise ConfigError(
            "qdrant.tokens needs qdrant.api_key, which signs them.",
            hint="Set ATALAIA_QDRANT__API_KEY to the server's.",
        )
    return open_vectors(
        url=qdrant.url, tokens=CollectionTokens(qdrant.api_key, name, SystemClock())
    )


async def check_server(settings: Settings) -> None:
    """Sign in at the server of the settings, and ask what is there.

    Raises:
        StoreRefusedError: it refuses the key, or is no Qdrant.
        UnavailableError: it cannot be reached.
    """
    client = connect(settings)
    try:
        with qdrant_errors():
            if isinstance(client, AsyncQdrantClient):
                await client.get_collections()
    finally:
        await client.close()
