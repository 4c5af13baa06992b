"""The last failure of each camera, kept so that the cluster can query it.

Gateways report little about why a source fails. The relay knows, and the cluster asks it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.relay.fair_memory import FairMemory

MAX_REMEMBERED = 4096
"""More cameras than one gateway can serve, at some 200 bytes each."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a camera could not be read.

    Attributes:
        detail: the message of the camera or the network, without credentials; may be empty.
    """

    problem: CameraProblem
    detail: str


class Failures:
    """The last failure of each sealed target, cleared when the target works again. No tenant pushes
    out another's."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._known = FairMemory[Failure](limit)

    def add(self, sealed: str, tenant: str, error: UnreadableCameraError) -> None:
        """Args: `tenant`: whose camera it is."""
        self._known.put(tenant, sealed, Failure(error.problem, error.detail))

    def forget(self, sealed: str, *, but: CameraProblem | None = None) -> None:
        """The target works again; a failure that is the problem `but` stays."""
        failure = self._known.get(sealed)
        if failure is not None and failure.problem is not but:
            self._known.forget(sealed)

    def of(self, sealed: str) -> Failure | None:
        return self._known.get(sealed)
