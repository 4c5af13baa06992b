"""Class names as people write them, matched to those of a model. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import islice

# Plurals that no rule gives, of the classes of COCO and of what people call them.
_IRREGULAR = {"people": "person", "persons": "person", "mice": "mouse", "knives": "knife"}
_SUGGESTIONS = 3
# Labels that an error lists: as many as people read.
_LISTED = 30
# Unknown names of one request that are worth suggestions, each of which compares with every label.
MAX_SUGGESTED = 5
# Labels that a misspelt name is compared with: 80 take 2 ms, and some models have 20,000.
_COMPARED = 1_000


class ClassNames:
    """The class names of one model. Build it once for several names.

    Args:
        labels: in the model's order.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._exact = frozenset(labels)
        self._by_words = {_words(label): label for label in reversed(labels)}

    def find(self, name: str) -> str | None:
        """The model's class for `name`: exact, else without regard to case, separators and plural.

        Args:
            name: for instance `Person`, `people`, `traffic_light`.

        Returns:
            One of the labels; None where none fits.
        """
        if name in self._exact:
            return name
        known = self._by_words
        return next((known[form] for form in _forms(_words(name)) if form in known), None)

    def similar(self, name: str) -> list[str]:
        """Classes whose spelling is closest to `name`, best first, at most three; may be empty.
        Compares: it costs much more than `find`."""
        compared = list(islice(reversed(self._by_words), _COMPARED))
        found = difflib.get_close_matches(_words(name), compared, _SUGGESTIONS)
        return [self._by_words[words] for words in found]

    def meant(self, name: str) -> str:
        """`did you mean car or cart?`; empty where nothing is similar."""
        similar = self.similar(name)
        return f"did you mean {' or '.join(similar)}?" if similar else ""

    def listed(self) -> str:
        """The labels for an error text, as far as they fit."""
        more = ", …" if len(self._labels) > _LISTED else ""
        return ", ".join(self._labels[:_LISTED]) + more


def _words(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.strip())).casefold()


def _forms(words: str) -> Iterator[str]:
    """The words as they are, then their possible singulars; the last word carries the plural."""
    yield words
    *first, last = words.split(" ")
    singulars = [_IRREGULAR.get(last, "")]
    if last.endswith("ies"):
        singulars.append(last[:-3] + "y")
    if last.endswith("es"):
        singulars.append(last[:-2])
    if last.endswith("s"):
        singulars.append(last[:-1])
    for singular in singulars:
        if singular:
            yield " ".join([*first, singular])
