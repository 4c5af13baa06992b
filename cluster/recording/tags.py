"""Tags of a recorded file, stored in its comment: what the video itself does not show.

If the recorder was killed, the file alone must say whether it is masked and whether it should be
kept. So the tags are written at the start of the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, slots=True)
class Tags:
    """What the recorder knew about a file. The names are part of the file format.

    Attributes:
        masked: whether privacy masks are painted into the frames.
        note: remark for people.
        rolls_us: keep the file only if an alarm lies at most this much (before, after) from it: the
            camera's pre-roll and post-roll, microseconds. None: keep it in any case.
    """

    masked: bool = False
    note: str = ""
    rolls_us: tuple[int, int] | None = None

    def encode(self) -> str:
        """The tags as JSON."""
        return _TAGS.dump_json(self).decode()

    @classmethod
    def decode(cls, text: str) -> Tags | None:
        """Tags from JSON; None if the text is something else."""
        try:
            return _TAGS.validate_json(text)
        except ValidationError:
            return None


NO_TAGS = Tags()
_TAGS: TypeAdapter[Tags] = TypeAdapter(Tags)
