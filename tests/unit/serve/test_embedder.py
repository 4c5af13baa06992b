"""The embedder's replica calls its model from one thread at a time, whoever asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cluster.core.settings import Settings
from cluster.core.work_orders import Purpose
from cluster.inference.embedder import EmbedderInfo, Pixels, Vectors
from pipelines.domain import WorkOwner
from serve.embedder import Embedder
from tests.factories import ORDERS, SIGNED


class Noticing:
    """A model that holds its first call until `let_go`, and counts the calls that run at once."""

    info = EmbedderInfo(name="noticing", dim=2, text=True)
    max_batch = 1

    def __init__(self) -> None:
        self.at_once = 0
        self.calls: list[str] = []
        self.entered = threading.Event()
        self._running = 0
        self._lock = threading.Lock()
        self._gate = threading.Event()

    def let_go(self) -> None:
        self._gate.set()

    def embed_images(self, images: Sequence[Pixels]) -> Vectors:
        return self._call("image", len(images))

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        return self._call("text", len(texts))

    def close(self) -> None:
        """Nothing to give back."""

    def _call(self, kind: str, count: int) -> Vectors:
        with self._lock:
            self.calls.append(kind)
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        self.entered.set()
        assert self._gate.wait(10)
        with self._lock:
            self._running -= 1
        return np.tile(np.array([1, 0], np.float32), (count, 1))


class NoHandle:
    """The handle of a memory that is never called."""

    def options(self, **_: object) -> NoHandle:
        return self


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Noticing:
    model = Noticing()
    monkeypatch.setattr("serve.embedder.load_embedder", lambda _: model)
    monkeypatch.setattr("serve.embedder.configure_logging", lambda _: None)
    return model


@pytest.fixture
def embedder(model: Noticing) -> Any:
    """The deployment's class itself, without Ray."""
    decorated: Any = Embedder
    return decorated.func_or_class(Settings(ray=SIGNED), NoHandle())


async def threads_had_their_turn() -> None:
    """Every thread that could run has: each round goes to a thread and back."""
    for _ in range(100):
        await asyncio.to_thread(threading.get_ident)


CROP = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize("first", ["image", "text"])
async def test_images_and_texts_take_turns(embedder: Any, model: Noticing, first: str) -> None:
    order = ORDERS.issue(WorkOwner("acme", "gate"), Purpose.EMBED)

    def ask(kind: str) -> asyncio.Task[Any]:
        call = (
            embedder.embed_image(CROP, order)
            if kind == "image"
            else embedder.embed_text("lime", order)
        )
        return asyncio.create_task(call)

    tasks = [ask(first)]
    assert await asyncio.to_thread(model.entered.wait, 10)
    tasks += [ask(kind) for kind in ("image", "text", "text", "image")]
    await threads_had_their_turn()
    assert model.calls == [first]
    model.let_go()
    vectors = await asyncio.gather(*tasks)
    assert [vector.tolist() for vector in vectors] == [[1, 0]] * 5
    assert model.at_once == 1
    assert sorted(model.calls) == sorted([first, "image", "image", "text", "text"])
    await embedder._batcher.aclose()
