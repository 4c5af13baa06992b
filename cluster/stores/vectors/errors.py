"""What Qdrant's client raises, in our errors: each says what is wrong, and whether a retry helps.

The client wraps whatever its HTTP library raised, so what happened is looked for along the causes.
No message holds an address or a key: it may be shown to a tenant.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import responses

import httpx
from pydantic import ValidationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from cluster.core.aio import keep_cancellation
from pipelines.errors import AtalaiaError, StoreRefusedError, UnavailableError

_KEY_HINT = "Set ATALAIA_QDRANT__API_KEY to the server's key."
_URL_HINT = "Correct ATALAIA_QDRANT__URL."
# Causes of causes; a chain of the client's has four.
_DEPTH = 16


class CollectionLostError(UnavailableError):
    """The collection is not there: it was removed, or the server has lost what it stored."""


class QdrantTimeoutError(UnavailableError):
    """Qdrant did not answer in time. What was asked may have been done, or may be done later."""


@contextmanager
def qdrant_errors() -> Iterator[None]:
    """Raise our errors in place of the client's.

    Raises:
        CollectionLostError: Qdrant has no such collection.
        QdrantTimeoutError: no answer in time.
        StoreRefusedError: the key is wrong, the server's certificate or address is, or Qdrant does
            not accept the request. The same again helps in none of these cases.
        UnavailableError: it cannot be reached now, or has too much to do.
    """
    try:
        with keep_cancellation():
            yield
    except UnexpectedResponse as error:
        raise _of_status(error.status_code or 0) from error
    except ResponseHandlingException as error:
        raise _of_cause(error.source) from error
    except ResourceExhaustedResponse as error:
        raise UnavailableError("Qdrant has too much to do.", hint="Try again later.") from error
    except (ApiException, QdrantException, OSError) as error:
        raise UnavailableError(f"Qdrant cannot be used: {type(error).__name__}.") from error


def _of_status(status: int) -> AtalaiaError:
    # Never the server's own phrase: who stands in its place may repeat our key in it.
    said = f"{status} {responses.get(status, '')}".strip()
    match status:
        case 401 | 403:
            return StoreRefusedError(f"Qdrant refuses the key: {said}.", hint=_KEY_HINT)
        case 404:
            return CollectionLostError(f"Qdrant has no such collection: {said}.")
        case 408 | 504:
            return QdrantTimeoutError(f"Qdrant took too long: {said}.")
        case 425 | 429:
            return UnavailableError(f"Qdrant has too much to do: {said}.")
    if 400 <= status < 500:
        return StoreRefusedError(
            f"Qdrant does not accept the request: {said}.", hint="The server's log says why."
        )
    return UnavailableError(f"Qdrant failed: {said}.")


def _of_cause(source: BaseException) -> AtalaiaError:
    causes = list(_causes(source))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if caused_by(ssl.SSLError):
        return StoreRefusedError(
            "no secure connection to Qdrant: its certificate or its TLS cannot be accepted.",
            hint="Check the certificate, the CA bundle (SSL_CERT_FILE), and https in the URL.",
        )
    if caused_by(socket.gaierror):
        return UnavailableError("the name of Qdrant's host is not known.", hint=_URL_HINT)
    if caused_by(httpx.TimeoutException, TimeoutError):
        return QdrantTimeoutError("Qdrant did not answer in time.")
    if caused_by(httpx.UnsupportedProtocol, httpx.InvalidURL):
        return StoreRefusedError("the URL of Qdrant cannot be used.", hint=_URL_HINT)
    if caused_by(ValidationError):
        return StoreRefusedError("what answers at the URL is no Qdrant server.", hint=_URL_HINT)
    if caused_by(httpx.ConnectError):
        return UnavailableError("Qdrant cannot be reached.", hint="Is it running?")
    if caused_by(httpx.TransportError):
        return UnavailableError("the connection to Qdrant was lost.")
    return UnavailableError(f"Qdrant cannot be used: {type(source).__name__}.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on; members of groups as well."""
    waiting = [error]
    for _ in range(_DEPTH):
        if not waiting:
            return
        one = waiting.pop(0)
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        if (cause := one.__cause__ or one.__context__) is not None:
            waiting.append(cause)
