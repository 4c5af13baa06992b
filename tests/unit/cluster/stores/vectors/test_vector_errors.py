"""What Qdrant's client raises where the failure needs a network to happen."""

from __future__ import annotations

import socket
import ssl
from itertools import pairwise

import httpx
import pytest
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException

from cluster.stores.vectors.errors import QdrantTimeoutError, qdrant_errors
from pipelines.errors import AtalaiaError, StoreRefusedError, UnavailableError


def chained(*errors: BaseException) -> BaseException:
    """The first, caused by the second, and so on."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


UNKNOWN = chained(
    httpx.ConnectError("all failed"), OSError("all failed"), socket.gaierror(-2, "not known")
)
SLOW = chained(httpx.ConnectTimeout(""), TimeoutError())
SLOW_TLS = chained(httpx.ConnectError("tls"), ssl.SSLError(1, "handshake"))
SEVERAL = chained(
    httpx.ConnectError("all failed"),
    OSError("all failed"),
    ExceptionGroup("two", [socket.gaierror(-2, "not known"), OSError("no route")]),
)
DOWN = chained(httpx.ConnectError("all failed"), ConnectionRefusedError(111, "refused"))
LOST = httpx.ReadError("reset")


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (UNKNOWN, UnavailableError, "host is not known"),
        (SEVERAL, UnavailableError, "host is not known"),
        (SLOW, QdrantTimeoutError, "in time"),
        (SLOW_TLS, StoreRefusedError, "secure connection"),
        (DOWN, UnavailableError, "cannot be reached"),
        (LOST, UnavailableError, "was lost"),
        (httpx.UnsupportedProtocol("ftp"), StoreRefusedError, "URL"),
        (ValueError("what nobody thought of"), UnavailableError, "ValueError"),
    ],
)
async def test_each_cause_has_its_words(
    source: Exception, kind: type[AtalaiaError], said: str
) -> None:
    with pytest.raises(AtalaiaError) as caught, qdrant_errors():
        raise ResponseHandlingException(source)
    assert type(caught.value) is kind
    assert said in caught.value.message
    assert caught.value.retryable is (kind is not StoreRefusedError)


async def test_a_chain_that_never_ends_is_followed_for_a_while() -> None:
    error = httpx.ReadError("reset")
    error.__context__ = other = OSError("again")
    other.__context__ = error
    with pytest.raises(UnavailableError, match="was lost"), qdrant_errors():
        raise ResponseHandlingException(error)


async def test_a_busy_server_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="too much to do"), qdrant_errors():
        raise ResourceExhaustedResponse("later", 3)
