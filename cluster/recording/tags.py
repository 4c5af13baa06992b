"""What a recorded file says of itself, in its comment: all that is not in the pictures.

A file whose recorder was killed has nobody left to say whether its pictures are masked, or whether
it was to be kept at all. So this stands in the file's head from the first byte on.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, slots=True)
class Tags:
    """Attributes:
    masked: whether privacy masks are painted into the pictures.
    note: what people should know of the file.
    rolls_us: kept only where an alarm lies at most this much (before, after) from it: the
        camera's pre-roll and post-roll. None: kept whatever happens.
    """

    masked: bool = False
    note: str = ""
    rolls_us: tuple[int, int] | None = None

    def encode(self) -> str:
        return _TAGS.dump_json(self).decode()

    @classmethod
    def decode(cls, text: str) -> Tags | None:
        """None where the text is not ours."""
        try:
            return _TAGS.validate_json(text)
        except ValidationError:
            return None


NO_TAGS = Tags()
_TAGS: TypeAdapter[Tags] = TypeAdapter(Tags)
