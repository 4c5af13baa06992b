"""The last failure of each camera, kept so that the cluster can query it.

Gateways report little about why a source fails. The relay knows, and the cluster asks it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cluster.media.errors import CameraProblem, UnreadableCameraError

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
    """The last failure of each sealed target, cleared when the target works again."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._known: OrderedDict[str, Failure] = OrderedDict()

    def add(self, sealed: str, error: UnreadableCameraError) -> None:
        self._known[sealed] = Failure(error.problem, error.detail)
        self._known.move_to_end(sealed)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, sealed: str, *, but: CameraProblem | None = None) -> None:
        """The target works again; a failure that is the problem `but` stays."""
        failure = self._known.get(sealed)
        if failure is not None and failure.problem is not but:
            del self._known[sealed]

    def of(self, sealed: str) -> Failure | None:
        return self._known.get(sealed)
