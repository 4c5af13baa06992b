"""A CLIP-like embedder loaded from a folder, with a real model that the test makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cluster.core.settings import EmbedderSettings
from cluster.inference.embedders import embedder_info, load_embedder
from pipelines.errors import InputError, ModelError
from tests.integration.serve import clip_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_model.make(tmp_path_factory.mktemp("clip") / "three-colours")


def plain(colour: int, size: tuple[int, int] = (90, 40)) -> npt.NDArray[np.uint8]:
    picture = np.full((*size, 3), 20, np.uint8)
    picture[..., colour] = 230
    return picture


def test_pictures_and_words_meet_in_one_space(folder: Path) -> None:
    embedder = load_embedder(EmbedderSettings(model=str(folder)))
    pictures = embedder.embed_images([plain(0), plain(1, (30, 200)), plain(2, (500, 500))])
    words = embedder.embed_texts(["red", "Lime!", "a blue"])
    assert pictures.shape == words.shape == (3, 3)
    assert (pictures @ words.T).argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(pictures, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, atol=1e-6)


def test_a_batch_gives_what_single_pictures_give(folder: Path) -> None:
    embedder = load_embedder(EmbedderSettings(model=str(folder)))
    pictures = [plain(0), plain(1), plain(2, (31, 7))]
    together = embedder.embed_images(pictures)
    for picture, vector in zip(pictures, together, strict=True):
        np.testing.assert_allclose(embedder.embed_images([picture])[0], vector, atol=1e-6)


def test_its_description_needs_no_loading(folder: Path) -> None:
    settings = EmbedderSettings(model=str(folder))
    info = embedder_info(settings)
    assert info == load_embedder(settings).info
    assert (info.dim, info.text) == (3, True)
    assert info.name.startswith("three-colours-")


def test_without_a_text_side_pictures_still_work(tmp_path: Path) -> None:
    folder = clip_model.make(tmp_path / "clip", text=False)
    embedder = load_embedder(EmbedderSettings(model=str(folder)))
    assert embedder.embed_images([plain(1)]).argmax() == 1
    with pytest.raises(InputError, match="no text side"):
        embedder.embed_texts(["lime"])


def _rewrite(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    description = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in description.items() if v is not None}))


def test_what_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    cases = {
        "no description": (lambda f: (f / "model.json").unlink(), "model.json"),
        "no image tower": (lambda f: (f / "image.xml").unlink(), "neither image.xml nor"),
        "broken graph": (lambda f: (f / "image.xml").write_text("<net"), "OpenVINO cannot read"),
        "no weights": (lambda f: (f / "text.bin").unlink(), "OpenVINO cannot read|does not run"),
        "no tokenizer": (lambda f: (f / "merges.txt").unlink(), "cannot read the tokenizer"),
        "wrong dim": (lambda f: _rewrite(f, dim=4), r"gives \(1, 3\), but model.json says"),
        "no context": (lambda f: _rewrite(f, context=None), "gives no context"),
        "unknown key": (lambda f: _rewrite(f, colour="red"), "is wrong"),
    }
    for name, (spoil, message) in cases.items():
        folder = clip_model.make(tmp_path / name.replace(" ", "-"))
        spoil(folder)
        with pytest.raises(ModelError, match=message):
            load_embedder(EmbedderSettings(model=str(folder)))
