"""The real detector in this process: what it sees, and which files it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
import supervision as sv

from cluster.core.settings import DetectorSettings
from cluster.inference.checkpoint import load_network
from cluster.inference.export import ExportCache
from cluster.inference.known_network import open_network
from cluster.inference.model import DetectionModel, ModelInfo, load_model
from cluster.inference.openvino_runtime import possible_precisions
from cluster.inference.runtime import RuntimeOptions
from cluster.inference.runtimes import open_runtime
from cluster.inference.weights import resolve_weights
from pipelines.domain import Detections
from pipelines.errors import ConfigError, InputError, ModelError
from pipelines.imaging import letterbox_rgb
from tests.integration.serve import models

Picture = npt.NDArray[np.uint8]
INPUT = (640, 384)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(model_cache: Path) -> DetectionModel:
    return load_model("yolov8n.pt", DetectorSettings(), model_cache)


@pytest.fixture(scope="module")
def exact(model_cache: Path) -> DetectionModel:
    """The same in float32, where results can be compared to the last pixel."""
    return load_model("yolov8n.pt", DetectorSettings(precision="fp32"), model_cache)


def detect(model: DetectionModel, picture: Picture) -> Detections:
    (seen,) = model.detect([letterbox_rgb(picture, INPUT)])
    return seen


def counts(seen: Detections, above: float = 0.25) -> dict[str, int]:
    labels = [name for name, sure in zip(seen.labels, seen.confidence, strict=True) if sure > above]
    return {name: labels.count(name) for name in labels}


def matched(found: Detections, expected: Detections, least_iou: float) -> int:
    """How many of `expected` have a partner of their class in `found`."""
    if not len(found) or not len(expected):
        return 0
    overlaps = sv.box_iou_batch(expected.xyxy, found.xyxy)
    same = np.array([[a == b for b in found.labels] for a in expected.labels])
    return int(((overlaps >= least_iou) & same).any(axis=1).sum())


def ultralytics_sees(picture: Picture, above: float) -> Detections:
    """The independent opinion: ultralytics' own preprocessing, torch, suppression; at 640x640."""
    from ultralytics import YOLO

    bgr = np.ascontiguousarray(picture[..., ::-1])
    (result,) = YOLO(models.good()).predict(bgr, conf=above, verbose=False, device="cpu")
    return Detections(
        result.boxes.xyxy.numpy().astype(np.float32),
        result.boxes.conf.numpy().astype(np.float32),
        tuple(result.names[int(index)] for index in result.boxes.cls),
    )


def test_the_bus_and_its_people(model: DetectionModel, bus: Picture) -> None:
    seen = detect(model, bus)
    found = counts(seen, above=0.5)
    assert found["bus"] == 1
    assert found["person"] >= 3
    expected = ultralytics_sees(bus, above=0.7)
    assert len(expected) == 4
    assert matched(seen, expected, least_iou=0.85) == 4


def test_confidences_are_sorted_and_boxes_lie_inside(model: DetectionModel, bus: Picture) -> None:
    seen = detect(model, bus)
    assert (np.diff(seen.confidence) <= 0).all()
    assert seen.xyxy.dtype == seen.confidence.dtype == np.float32
    assert (seen.xyxy >= 0).all()
    assert (seen.xyxy <= [810, 1080, 810, 1080]).all()
    assert (seen.xyxy[:, :2] < seen.xyxy[:, 2:]).all()


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((405, 540), id="half"),
        pytest.param((811, 1079), id="odd"),
        pytest.param((1440, 1080), id="4:3"),
        pytest.param((1920, 1080), id="16:9"),
        pytest.param((607, 1080), id="9:16"),
        pytest.param((3840, 2160), id="4K"),
    ],
)
def test_boxes_are_in_pixels_of_the_source_whatever_its_size(
    exact: DetectionModel, bus: Picture, size: tuple[int, int]
) -> None:
    """The scene is scaled into a corner of a picture of another size; its boxes must follow."""
    width, height = size
    scale = min(width / 810, height / 1080)
    scene = cv2.resize(bus, (round(810 * scale), round(1080 * scale)))
    canvas = np.full((height, width, 3), 114, np.uint8)
    canvas[: scene.shape[0], : scene.shape[1]] = scene
    seen = detect(exact, canvas)
    reference = ultralytics_sees(bus, above=0.8)
    expected = Detections(
        reference.xyxy * np.float32(scale), reference.confidence, reference.labels
    )
    assert matched(seen, expected, least_iou=0.75) == len(expected)


def test_a_batch_gives_what_single_frames_give(exact: DetectionModel, bus: Picture) -> None:
    pictures = [bus, bus[:, ::-1], bus[200:900], np.zeros((480, 640, 3), np.uint8)]
    frames = [letterbox_rgb(np.ascontiguousarray(picture), INPUT) for picture in pictures]
    together = exact.detect(frames)
    assert len(together[3]) == 0
    for frame, batched in zip(frames, together, strict=True):
        (single,) = exact.detect([frame])
        np.testing.assert_array_equal(batched.xyxy, single.xyxy)
        assert batched.labels == single.labels
    assert exact.detect([]) == []


def test_the_lowest_precision_of_this_cpu_sees_what_float32_sees(
    exact: DetectionModel, bus: Picture, model_cache: Path
) -> None:
    lowest = possible_precisions(ov.Core(), "auto")[-1]
    model = load_model("yolov8n.pt", DetectorSettings(precision=lowest), model_cache)
    expected = detect(exact, bus)
    sure = expected.confidence > 0.4
    expected = Detections(
        expected.xyxy[sure],
        expected.confidence[sure],
        tuple(np.array(expected.labels)[sure].tolist()),
    )
    assert matched(detect(model, bus), expected, least_iou=0.9) == len(expected)


def test_torch_and_openvino_agree(exact: DetectionModel, bus: Picture, model_cache: Path) -> None:
    settings = DetectorSettings(runtime="torch", precision="fp32")
    by_torch = detect(load_model("yolov8n.pt", settings, model_cache), bus)
    by_openvino = detect(exact, bus)
    assert by_torch.labels == by_openvino.labels
    np.testing.assert_allclose(by_torch.xyxy, by_openvino.xyxy, atol=1.0)
    np.testing.assert_allclose(by_torch.confidence, by_openvino.confidence, atol=0.01)


def test_a_network_without_suppression_agrees_too(tmp_path: Path) -> None:
    """yolo26 can suppress by itself; its rows are others. Untrained, so taken at any confidence."""
    path = models.untrained("yolo26n", tmp_path, end_to_end=True)
    weights = resolve_weights(str(path), tmp_path)
    options = RuntimeOptions((320, 192), "fp32", confidence=1e-9, iou=0.6, max_batch=1)
    picture = np.random.default_rng(1).integers(0, 256, (1, 192, 320, 3), dtype=np.uint8)
    cache = ExportCache(tmp_path)
    network = load_network(weights)
    assert network.end_to_end
    (by_openvino,) = open_runtime("openvino", network, weights.sha256, options, cache).infer(
        picture
    )
    (by_torch,) = open_runtime("torch", network, weights.sha256, options, cache).infer(picture)
    assert len(by_openvino.confidence) == len(by_torch.confidence) > 0
    np.testing.assert_allclose(by_openvino.confidence, by_torch.confidence, rtol=0.05)


def test_the_onnx_for_tensorrt_takes_any_batch(tmp_path: Path) -> None:
    """The half of the TensorRT path that needs no GPU; OpenVINO reads the file instead."""
    pytest.importorskip("onnx", reason="the extra gpu is not installed")
    import torch

    from cluster.inference.tensorrt_runtime import export_onnx

    network = load_network(resolve_weights("yolov8n.pt", tmp_path))
    options = RuntimeOptions((320, 192), "fp32", confidence=0.25, iou=0.6, max_batch=4)
    export_onnx(network, options, torch.float32, tmp_path / "model.onnx", device="cpu")
    graph = ov.Core().compile_model(
        tmp_path / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for size in (1, 3):
        pixels = torch.rand(size, 3, 192, 320, generator=torch.Generator().manual_seed(size))
        with torch.inference_mode():
            expected = network.module(pixels).numpy()
        np.testing.assert_allclose(graph([pixels.numpy()])[0], expected, atol=0.05)


def test_a_frame_of_another_size_is_refused(model: DetectionModel, bus: Picture) -> None:
    with pytest.raises(InputError, match=r"letterboxed to \(320, 192\).*takes \(640, 384\)"):
        model.detect([letterbox_rgb(bus, (320, 192))])


def test_what_runs_is_told(model: DetectionModel) -> None:
    assert model.info.name == "yolov8n.pt"
    assert model.info.sha256.startswith("f59b3d83")
    assert model.info.runtime == "openvino"
    assert model.info.precision in ("bf16", "fp32")
    assert model.info.input_size == INPUT
    assert len(model.info.labels) == 80
    assert model.info.labels[0] == "person"


def test_the_export_is_reused_and_mended(model_cache: Path, tmp_path: Path, bus: Picture) -> None:
    settings = DetectorSettings(input_width=320, input_height=192)
    load_model("yolov8n.pt", settings, tmp_path)
    (graph,) = tmp_path.glob("exports/*/model.xml")
    made = graph.stat().st_mtime_ns
    load_model("yolov8n.pt", settings, tmp_path)
    assert graph.stat().st_mtime_ns == made
    graph.write_text("a disk that was full")
    mended = load_model("yolov8n.pt", settings, tmp_path)
    assert graph.stat().st_mtime_ns > made
    (seen,) = mended.detect([letterbox_rgb(bus, (320, 192))])
    assert counts(seen)["bus"] == 1


def test_a_known_checkpoint_is_not_read_again(model: DetectionModel, model_cache: Path) -> None:
    """Nor is torch loaded, which takes seconds and hundreds of megabytes."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cluster.core.settings import DetectorSettings\n"
        "from cluster.inference.model import load_model\n"
        "wanted = DetectorSettings(runtime='openvino')\n"
        "model = load_model('yolov8n.pt', wanted, Path(sys.argv[1]))\n"
        "print(model.info.model_dump_json())\n"
        "print({'torch', 'ultralytics'} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model_cache)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    info, loaded = done.stdout.splitlines()
    assert ModelInfo.model_validate_json(info) == model.info
    assert loaded == "set()"


@pytest.mark.parametrize("content", ["", '{"labels": 1}', None], ids=["empty", "wrong", "gone"])
def test_what_is_known_of_a_checkpoint_is_mended(tmp_path: Path, content: str | None) -> None:
    weights, cache = resolve_weights("yolov8n.pt", tmp_path), ExportCache(tmp_path)
    read = open_network(weights, cache)
    (known,) = tmp_path.glob("exports/*/network.json")
    if content is None:
        known.unlink()
    else:
        known.write_text(content)
    assert open_network(weights, cache).labels == read.labels
    again = open_network(weights, cache)
    assert (again.labels, again.end_to_end) == (read.labels, False)
    assert again.module.state_dict().keys() == read.module.state_dict().keys()


def test_the_precision_is_measured_once(tmp_path: Path) -> None:
    if len(possible_precisions(ov.Core(), "auto")) == 1:
        pytest.skip("this CPU computes in float32 alone")
    settings = DetectorSettings(input_width=320, input_height=192)
    taken = load_model("yolov8n.pt", settings, tmp_path).info.precision
    (kept,) = tmp_path.glob("exports/*/precision.txt")
    assert kept.read_text() == taken
    other = {"fp32": "bf16", "bf16": "fp32"}[taken]
    kept.write_text(other)
    assert load_model("yolov8n.pt", settings, tmp_path).info.precision == other
    kept.write_text("")  # a disk that was full
    assert load_model("yolov8n.pt", settings, tmp_path).info.precision in ("fp32", "bf16")
    assert kept.read_text() in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (models.truncated, "cannot be read"),
        (models.flipped, "cannot be read"),
        (models.renamed, "cannot be read"),
        (models.torchscript, "cannot be read"),
        (models.bare_weights, "holds no network"),
        (models.diverged, "not finite"),
    ],
)
def test_broken_files_are_refused(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(str(make(tmp_path)), DetectorSettings(), tmp_path)


@pytest.mark.parametrize("task", ["-seg", "-pose", "-obb", "-cls"])
def test_models_for_other_tasks_are_refused(task: str, tmp_path: Path) -> None:
    path = models.untrained(f"yolov8n{task}", tmp_path)
    with pytest.raises(ModelError, match="detector"):
        load_network(resolve_weights(str(path), tmp_path))


@pytest.mark.parametrize("make", [models.bomb, models.bare_bomb])
def test_code_in_a_file_is_never_run(make: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    path = make(tmp_path, canary)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(path), DetectorSettings(), tmp_path)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["yolov5n.pt", "it's mine.pt", "weights"])
def test_the_name_of_a_file_means_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(models.good().read_bytes())
    assert len(load_network(resolve_weights(str(path), tmp_path)).labels) == 80


def test_what_this_machine_cannot_do_is_said(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="sees no GPU"):
        load_model("yolov8n.pt", DetectorSettings(runtime="tensorrt"), tmp_path)
    with pytest.raises(ConfigError, match="precision is fp16"):
        load_model("yolov8n.pt", DetectorSettings(runtime="torch", precision="fp16"), tmp_path)
