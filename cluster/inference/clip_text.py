"""CLIP's byte-pair encoding, from the `vocab.json` and `merges.txt` of any CLIP export."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.errors import InputError, ModelError

START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
# Contractions, runs of letters, single digits, runs of anything else, as in the published encoder.
_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\w\s]|_)+", re.IGNORECASE)
MAX_TEXT = 2_000


def _byte_letters() -> dict[int, str]:
    """A printable letter per byte: printable Latin-1 stands for itself, the rest from 256 on."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    letters = {byte: chr(byte) for byte in kept}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(kept))
    return letters


class ClipTokenizer:
    """Words to token numbers.

    Args:
        vocabulary: token to number; holds START, END and the byte letters, alone and word-final.
        merges: pairs of tokens that join, most frequent first.
        context: tokens per text, start and end included.
    """

    def __init__(
        self, vocabulary: dict[str, int], merges: list[tuple[str, str]], context: int
    ) -> None:
        missing = [token for token in (START, END) if token not in vocabulary]
        if missing:
            raise ModelError(f"the tokenizer's vocabulary lacks {', '.join(missing)}.")
        self._vocabulary = vocabulary
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._context = context
        self._letters = _byte_letters()
        self._split = lru_cache(maxsize=10_000)(self._merge)

    @classmethod
    def read(cls, folder: Path, context: int) -> ClipTokenizer:
        """From `vocab.json` and `merges.txt` in `folder`. Raises ModelError for broken ones."""
        try:
            vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read the tokenizer in {folder}: {error}") from error
        pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#")]
        if not isinstance(vocabulary, dict) or any(len(pair) != 2 for pair in pairs):
            raise ModelError(f"vocab.json or merges.txt in {folder} is not in CLIP's format.")
        return cls(vocabulary, [(pair[0], pair[1]) for pair in pairs], context)

    def __call__(self, texts: list[str]) -> npt.NDArray[np.int64]:
        """int64 (n, context); cut where a text is longer, filled up with END as CLIP does.

        Raises:
            InputError: a text is empty, very long, or holds what the vocabulary cannot write.
        """
        rows = np.full((len(texts), self._context), self._vocabulary[END], dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            numbers = [self._vocabulary[START], *self._numbers(text)[: self._context - 2]]
            row[: len(numbers)] = numbers
        return rows

    def _numbers(self, text: str) -> list[int]:
        cleaned = " ".join(text.lower().split())
        if not cleaned or len(cleaned) > MAX_TEXT:
            raise InputError(f"the text must have 1 to {MAX_TEXT} characters.")
        numbers = []
        for word in _WORDS.findall(cleaned):
            letters = "".join(self._letters[byte] for byte in word.encode())
            for token in self._split(letters):
                if token not in self._vocabulary:
                    raise InputError(f"the model's vocabulary cannot write {word!r}.")
                numbers.append(self._vocabulary[token])
        return numbers

    def _merge(self, letters: str) -> tuple[str, ...]:
        parts = [*letters[:-1], letters[-1] + _WORD_END]
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            merged: list[str] = []
            index = 0
            while index < len(parts):
                if index + 1 < len(parts) and (parts[index], parts[index + 1]) == best:
                    merged.append(parts[index] + parts[index + 1])
                    index += 2
                else:
                    merged.append(parts[index])
                    index += 1
            parts = merged
        return tuple(parts)
