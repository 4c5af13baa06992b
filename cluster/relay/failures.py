"""Why the relay could not read a camera, remembered for those who ask afterwards.

Gateways tell their users little of why a source fails; the relay knows, and the cluster asks it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cluster.media.errors import CameraProblem, UnreadableCameraError

MAX_REMEMBERED = 4096
"""As many cameras as one gateway could ever serve, at some 200 bytes each."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a camera could not be read.

    Attributes:
        detail: what the camera or the network said, without credentials; may be empty.
    """

    problem: CameraProblem
    detail: str


class Failures:
    """The last failure of each sealed target, until it works again."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._known: OrderedDict[str, Failure] = OrderedDict()

    def add(self, sealed: str, error: UnreadableCameraError) -> None:
        self._known[sealed] = Failure(error.problem, error.detail)
        self._known.move_to_end(sealed)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, sealed: str) -> None:
        self._known.pop(sealed, None)

    def of(self, sealed: str) -> Failure | None:
        return self._known.get(sealed)
