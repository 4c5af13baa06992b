"""A small CLIP-like model: it knows three colours, in pictures and in words.

The image tower is the mean of each channel. The text tower adds up one vector per token. So `red`
and a red picture point the same way, and a test can tell right from wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

import openvino as ov
import torch

from cluster.inference.clip_text import END, START, _byte_letters

# Words whose merges do not get into each other's way ("green" would first join the "re" of "red").
COLOURS = ("red", "lime", "blue")
CONTEXT = 6
SIZE = 32


class _Image(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3)) + 0.01


class _Text(torch.nn.Module):
    def __init__(self, tokens: int, meaning: dict[int, int]) -> None:
        super().__init__()
        table = torch.full((tokens, len(COLOURS)), 0.001)
        for number, colour in meaning.items():
            table[number, colour] = 1.0
        self.table = torch.nn.Embedding.from_pretrained(table)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.table(numbers).sum(dim=1)


def make(folder: Path, *, text: bool = True) -> Path:
    """Write the whole folder, as an export of a real model would look."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = list(_byte_letters().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for colour in COLOURS:
        parts = [*colour[:-1], colour[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = ["".join(parts[:2])]
            tokens.append(parts[0])
    vocabulary = {
        token: number for number, token in enumerate([*dict.fromkeys(tokens), START, END])
    }
    image = ov.convert_model(_Image(), example_input=torch.zeros(1, 3, SIZE, SIZE))
    ov.save_model(image, folder / "image.xml", compress_to_fp16=False)
    description = {
        "name": "three-colours",
        "dim": len(COLOURS),
        "image_size": SIZE,
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
    }
    if text:
        meaning = {vocabulary[colour + "</w>"]: i for i, colour in enumerate(COLOURS)}
        tower = _Text(len(vocabulary), meaning)
        example = torch.zeros(1, CONTEXT, dtype=torch.int64)
        ov.save_model(
            ov.convert_model(tower, example_input=example),
            folder / "text.xml",
            compress_to_fp16=False,
        )
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / "merges.txt").write_text(
            "\n".join(["#version: 0.2", *(" ".join(pair) for pair in dict.fromkeys(merges))])
        )
        description["context"] = CONTEXT
    (folder / "model.json").write_text(json.dumps(description))
    return folder
