"""Calls to Serve handles and Ray actors, with time-outs, and with our errors in place of Ray's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from pipelines.errors import AtalaiaError, UnavailableError


@asynccontextmanager
async def ray_errors(what: str, timeout_s: float) -> AsyncIterator[None]:
    """Run a remote call to `what` with a time-out.

    Raises:
        AtalaiaError: raised by the remote side, unchanged.
        UnavailableError: no response, or not in time.
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
    """Convert Ray's errors to ours; TimeoutError passes, whichever side raised it."""
    try:
        yield
    except RayTaskError as error:
        # Also an instance of the cause's class, but its text is the remote stack trace.
        if isinstance(error.cause, AtalaiaError):
            raise error.cause from None
        if isinstance(error.cause, RayError | RayServeException):
            raise unavailable(what) from error
        raise
    except (AtalaiaError, TimeoutError):
        raise
    except (RayError, RayServeException) as error:
        raise unavailable(what) from error


def unavailable(what: str) -> UnavailableError:
    return UnavailableError(
        f"The {what} is not available right now.", hint="Try again in a moment."
    )
