"""Class names as people write them, matched to those of a model. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

# Plurals that no rule gives, of the classes of COCO and of what people call them.
_IRREGULAR = {"people": "person", "persons": "person", "mice": "mouse", "knives": "knife"}
_SUGGESTIONS = 3


def find_class(name: str, labels: Sequence[str]) -> str | None:
    """The model's class for `name`: exact, else without regard to case, separators and plural.

    Args:
        name: for instance `Person`, `people`, `traffic_light`.
        labels: class names of the model.

    Returns:
        One of `labels`; None where none fits.
    """
    if name in labels:
        return name
    by_words = {_words(label): label for label in reversed(labels)}
    return next((by_words[form] for form in _forms(_words(name)) if form in by_words), None)


def similar_classes(name: str, labels: Sequence[str]) -> list[str]:
    """Classes whose spelling is closest to `name`, best first, at most three; may be empty."""
    by_words = {_words(label): label for label in reversed(labels)}
    found = difflib.get_close_matches(_words(name), by_words, _SUGGESTIONS)
    return [by_words[words] for words in found]


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
