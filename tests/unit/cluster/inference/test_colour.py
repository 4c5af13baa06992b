"""The built-in embedder: what its vectors promise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cluster.core.settings import EmbedderSettings
from cluster.inference.embedder import checked_picture
from cluster.inference.embedders import embedder_info, load_embedder
from pipelines.errors import InputError, ModelError


def person(shirt: tuple[int, int, int], size: tuple[int, int] = (96, 48)) -> npt.NDArray[np.uint8]:
    """Grey street, a shirt, dark trousers, some noise."""
    height, width = size
    picture = np.full((height, width, 3), 120, np.uint8)
    body = slice(width // 4, 3 * width // 4)
    picture[height // 5 : height // 2, body] = shirt
    picture[height // 2 :, body] = (30, 30, 50)
    noise = np.random.default_rng(height).integers(-6, 7, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_vectors_have_length_one_whatever_the_crop() -> None:
    embedder = load_embedder(EmbedderSettings())
    rng = np.random.default_rng(0)
    crops = [
        rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(1, 1), (2, 90), (300, 200)]
    ]
    vectors = embedder.embed_images([*crops, np.zeros((40, 20, 3), np.uint8)])
    assert vectors.shape == (4, embedder.info.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_same_shirt_near_and_far_is_nearer_than_another_shirt() -> None:
    near, far, other = load_embedder(EmbedderSettings()).embed_images(
        [person((200, 30, 30)), person((200, 30, 30), (220, 110)), person((30, 60, 200))]
    )
    assert near @ far > 0.95
    assert near @ other < near @ far - 0.1


def test_there_is_no_text_side_and_it_says_so() -> None:
    embedder = load_embedder(EmbedderSettings())
    assert not embedder.info.text
    with pytest.raises(InputError, match="no text side"):
        embedder.embed_texts(["a red car"])


def test_its_description_needs_no_loading() -> None:
    settings = EmbedderSettings()
    assert embedder_info(settings) == load_embedder(settings).info


def test_a_folder_that_is_not_there_is_said() -> None:
    with pytest.raises(ModelError, match="does not exist"):
        embedder_info(EmbedderSettings(model="/nowhere/clip"))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
)
def test_what_is_no_picture_is_refused(picture: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="expected a picture"):
        checked_picture(picture)
