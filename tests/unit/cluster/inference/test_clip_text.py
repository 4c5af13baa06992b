"""CLIP's tokenizer, on a vocabulary small enough to follow by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.inference.clip_text import END, START, ClipTokenizer, _byte_letters
from pipelines.errors import InputError, ModelError

MERGES = [("c", "a"), ("ca", "r</w>"), ("r", "e"), ("re", "d</w>")]


def vocabulary() -> dict[str, int]:
    letters = list(_byte_letters().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["".join(pair) for pair in MERGES]
    return {token: index for index, token in enumerate([*tokens, START, END])}


@pytest.fixture
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer(vocabulary(), MERGES, context=8)


def tokens(numbers: list[int]) -> list[str]:
    names = {index: token for token, index in vocabulary().items()}
    return [names[number] for number in numbers]


def test_all_256_bytes_have_their_own_letter() -> None:
    letters = _byte_letters()
    assert sorted(letters) == list(range(256))
    assert len(set(letters.values())) == 256
    assert letters[ord("a")] == "a"
    assert letters[ord(" ")] == "Ġ"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red car", ["red</w>", "car</w>"]),
        ("  Red \n CAR ", ["red</w>", "car</w>"]),
        ("cars", ["ca", "r", "s</w>"]),
        ("car's", ["car</w>", "'", "s</w>"]),
        ("a 42", ["a</w>", "4</w>", "2</w>"]),
        ("é", ["Ã", "©</w>"]),
    ],
)
def test_words_become_tokens(tokenizer: ClipTokenizer, text: str, expected: list[str]) -> None:
    row = tokens(tokenizer([text])[0].tolist())
    assert row[0] == START
    assert row[1 : 1 + len(expected)] == expected
    assert set(row[1 + len(expected) :]) == {END}


def test_long_texts_are_cut_but_end(tokenizer: ClipTokenizer) -> None:
    row = tokens(tokenizer(["car " * 50])[0].tolist())
    assert len(row) == 8
    assert row == [START, *["car</w>"] * 6, END]


@pytest.mark.parametrize("text", ["", "   ", "x" * 3_000])
def test_texts_that_say_nothing_or_too_much(tokenizer: ClipTokenizer, text: str) -> None:
    with pytest.raises(InputError, match="1 to 2000 characters"):
        tokenizer([text])


def test_reads_the_files_of_an_export(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary()))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES)]
    (tmp_path / "merges.txt").write_text("\n".join(lines))
    row = tokens(ClipTokenizer.read(tmp_path, 8)(["red"])[0].tolist())
    assert row[1] == "red</w>"


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        (None, "a b", "cannot read the tokenizer"),
        ("{", "a b", "cannot read the tokenizer"),
        ("[]", "a b", "not in CLIP's format"),
        ("{}", "a b c", "not in CLIP's format"),
        ("{}", "a b", "lacks"),
    ],
)
def test_broken_files(tmp_path: Path, vocab: str | None, merges: str, message: str) -> None:
    if vocab is not None:
        (tmp_path / "vocab.json").write_text(vocab)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(ModelError, match=message):
        ClipTokenizer.read(tmp_path, 8)
