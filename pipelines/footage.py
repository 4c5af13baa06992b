"""Whether the files that the index of recordings names are still there. Pure."""

from __future__ import annotations

from dataclasses import dataclass

BREAKER_FILES = 100
"""What a crash may leave behind is less: 64 files are removed before their rows are."""


@dataclass(frozen=True, slots=True)
class Census:
    """Files that a tenant's index names, and how many of them are not there."""

    known: int
    missing: int

    @property
    def is_loss(self) -> bool:
        """Whether so much is gone that nobody can have meant it: more than 100 files, and more than
        half of what is known."""
        return self.missing > BREAKER_FILES and self.missing * 2 > self.known

    @property
    def may_be_loss(self) -> bool:
        """The same of a sample of more than 100 files: whether counting all of them is worth it."""
        return self.missing * 2 > self.known and self.known > BREAKER_FILES
