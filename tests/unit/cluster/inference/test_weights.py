"""What a weights setting means, without any hub."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from cluster.inference import weights as module
from cluster.inference.weights import installed_copy, resolve_weights
from pipelines.errors import ModelError

CONTENT = b"w" * 20_000


def no_hub(name: str, folder: Path) -> None:
    raise ConnectionError("the hub cannot be reached")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(CONTENT)
    found = resolve_weights(str(path), tmp_path / "cache", download=no_hub)
    assert (found.name, found.path) == ("mine.pt", path)
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("wanted", "content", "message"),
    [
        ("gone.pt", None, "does not exist"),
        ("empty.pt", b"", "holds only 0 bytes"),
        ("page.pt", b"<html>not found</html>", "holds only 22 bytes"),
    ],
)
def test_unusable_paths(tmp_path: Path, wanted: str, content: bytes | None, message: str) -> None:
    path = tmp_path / wanted
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        resolve_weights(str(path), tmp_path, download=no_hub)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a file"):
        resolve_weights(str(tmp_path), tmp_path, download=no_hub)


@pytest.mark.parametrize("name", ["yolov8n", "model.onnx", "yolo v8.pt", "-x.pt", "é.pt"])
def test_what_is_neither_file_nor_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="neither a file nor the name of a model"):
        resolve_weights(name, tmp_path, download=no_hub)


def test_a_download_is_kept_and_not_repeated(tmp_path: Path) -> None:
    asked: list[str] = []

    def hub(name: str, folder: Path) -> None:
        asked.append(name)
        (folder / name).write_bytes(CONTENT)

    first = resolve_weights("yolo26n.pt", tmp_path, download=hub)
    second = resolve_weights("yolo26n.pt", tmp_path, download=no_hub)
    assert first == second
    assert asked == ["yolo26n.pt"]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "the model hub has no"), (b"<html>", "holds only 6 bytes")]
)
def test_a_bad_download_is_not_kept(tmp_path: Path, content: bytes | None, message: str) -> None:
    def hub(name: str, folder: Path) -> None:
        if content is not None:
            (folder / name).write_bytes(content)

    with pytest.raises(ModelError, match=message):
        resolve_weights("yolo26n.pt", tmp_path, download=hub)
    assert not list((tmp_path / "weights").iterdir())


def test_without_a_hub_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot download yolo26n.pt.*give its path") as caught:
        resolve_weights("yolo26n.pt", tmp_path, download=no_hub)
    assert isinstance(caught.value.__cause__, ConnectionError)


def fake_wheel(root: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    package = root / "bundled_model_for_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "yolov8n.pt").write_bytes(content)
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    monkeypatch.setattr(module, "_INSTALLED_PACKAGE", package.name)


def test_the_installed_copy_needs_no_hub_and_no_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_wheel(tmp_path, CONTENT, monkeypatch)
    monkeypatch.setattr(module, "_INSTALLED_SHA256", hashlib.sha256(CONTENT).hexdigest())
    found = resolve_weights("yolov8n.pt", tmp_path / "cache", download=no_hub)
    assert found.path.parent.name == "bundled_model_for_test"


def test_another_file_under_that_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_wheel(tmp_path, CONTENT, monkeypatch)
    with pytest.raises(ModelError, match=r"is not the original yolov8n\.pt"):
        installed_copy("yolov8n.pt")


def test_without_the_wheel_the_hub_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INSTALLED_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(ModelError, match="cannot download"):
        resolve_weights("yolov8n.pt", tmp_path, download=no_hub)
