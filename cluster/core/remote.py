"""Calls to Serve handles and Ray actors: bounded in time, with errors of ours in place of Ray's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from pipelines.errors import AtalaiaError, UnavailableError


@asynccontextmanager
async def ray_errors(what: str, timeout_s: float) -> AsyncIterator[None]:
    """Bound the time of a remote call to `what`.

    Raises:
        AtalaiaError: what the other side raised on purpose, as it was.
        UnavailableError: nobody answered, or not in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            with _our_errors(what):
                yield
    except TimeoutError as error:
        raise UnavailableError(
            f"The {what} did not answer within {timeout_s:g} s.", hint="Try again in a moment."
        ) from error


@contextmanager
def _our_errors(what: str) -> Iterator[None]:
    """Ray's errors become ours; TimeoutError passes, whichever side raised it."""
    try:
        yield
    except RayTaskError as error:
        # Also an instance of the cause's class, but with the remote stack trace as its text.
        if isinstance(error.cause, AtalaiaError):
            raise error.cause from None
        if isinstance(error.cause, RayError | RayServeException):
            raise away(what) from error
        raise
    except (AtalaiaError, TimeoutError):
        raise
    except (RayError, RayServeException) as error:
        raise away(what) from error


def away(what: str) -> UnavailableError:
    return UnavailableError(f"The {what} is not there right now.", hint="Try again in a moment.")
