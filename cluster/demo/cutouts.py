"""People and a bus, cut out of the image `bus.jpg` in the ultralytics package.

The outlines were traced by hand and are stored here as coordinates, so that nothing has to be
downloaded or segmented. The bus is retouched where people stand in front of it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from pipelines.errors import ConfigError

Pixels = npt.NDArray[np.uint8]
Points = tuple[tuple[int, int], ...]


class Figure(StrEnum):
    """A figure that can be put into a scene."""

    COAT = "coat"
    JACKET = "jacket"
    BUS = "bus"

    @property
    def label(self) -> str:
        """The class name that a COCO detector assigns."""
        return "bus" if self is Figure.BUS else "person"


# fmt: off
_OUTLINES: dict[Figure, Points] = {
    Figure.JACKET: (
        (103, 425), (104, 415), (108, 407), (116, 402), (128, 401), (140, 400), (150, 403),
        (156, 408), (157, 418), (154, 428), (153, 440), (151, 455), (147, 466), (153, 471),
        (163, 481), (170, 489), (173, 498), (178, 505), (180, 515), (183, 525), (188, 537),
        (195, 545), (200, 553), (201, 567), (200, 580), (193, 590), (184, 597), (181, 601),
        (184, 615), (187, 640), (190, 660), (192, 683), (190, 691), (178, 690), (179, 702),
        (180, 720), (184, 745), (188, 780), (192, 810), (197, 830), (201, 845), (203, 855),
        (212, 861), (225, 868), (240, 876), (246, 882), (244, 888), (235, 893), (215, 897),
        (190, 898), (176, 896), (176, 880), (177, 868), (178, 858), (176, 850), (170, 830),
        (163, 810), (156, 785), (150, 765), (146, 750), (141, 735), (138, 715), (136, 703),
        (119, 703), (115, 730), (107, 760), (100, 780), (95, 800), (90, 830), (85, 852),
        (87, 858), (95, 870), (104, 882), (107, 893), (100, 899), (85, 899), (70, 894),
        (58, 890), (54, 884), (56, 872), (59, 860), (62, 852), (61, 840), (62, 820), (66, 812),
        (73, 800), (77, 790), (77, 775), (74, 750), (74, 700), (72, 699), (58, 697), (56, 690),
        (57, 680), (59, 660), (61, 630), (63, 600), (64, 580), (62, 570), (60, 558), (62, 545),
        (62, 520), (61, 507), (64, 495), (68, 488), (80, 481), (92, 473), (97, 466), (98, 455),
        (103, 447), (102, 437),
    ),
    Figure.COAT: (
        (264, 430), (263, 418), (267, 411), (276, 408), (288, 407), (296, 410), (302, 420),
        (303, 432), (306, 440), (305, 450), (303, 460), (301, 468), (303, 474), (312, 480),
        (325, 485), (330, 492), (334, 505), (338, 520), (340, 535), (339, 548), (334, 556),
        (326, 561), (319, 560), (320, 570), (325, 585), (328, 600), (328, 620), (331, 645),
        (335, 675), (337, 692), (333, 696), (334, 705), (337, 715), (336, 722), (330, 732),
        (320, 742), (308, 755), (298, 766), (288, 776), (284, 778), (286, 785), (290, 795),
        (297, 805), (298, 812), (292, 814), (285, 810), (281, 803), (276, 812), (275, 820),
        (279, 832), (284, 843), (291, 851), (291, 857), (283, 860), (270, 858), (258, 853),
        (256, 845), (260, 838), (262, 826), (260, 818), (258, 805), (255, 785), (250, 770),
        (246, 750), (244, 730), (243, 715), (242, 704), (228, 700), (225, 697), (226, 680),
        (230, 655), (235, 630), (238, 610), (240, 598), (236, 588), (235, 575), (237, 555),
        (240, 545), (240, 538), (237, 528), (238, 512), (242, 500), (245, 490), (252, 482),
        (262, 475), (270, 470), (274, 466), (269, 455), (267, 447), (264, 442),
    ),
    Figure.BUS: (
        (34, 345), (42, 318), (58, 292), (76, 268), (95, 254), (120, 246), (160, 242), (200, 234),
        (260, 233), (300, 237), (480, 248), (640, 262), (690, 264), (728, 278), (744, 303),
        (784, 312), (796, 330), (802, 350), (802, 640), (780, 655), (745, 672), (722, 674),
        (698, 668), (686, 655), (560, 680), (400, 695), (372, 722), (352, 735), (330, 728),
        (318, 722), (60, 720), (24, 690), (22, 560),
    ),
}
# fmt: on

# Retouching of the bus: what to replace, and the clean area to stretch over it; rectangles x1, y1,
# x2, y2 in pixels of the image.
_REPAIRS: tuple[tuple[tuple[int, int, int, int], tuple[int, int, int, int]], ...] = (
    ((20, 396, 306, 548), (206, 400, 221, 480)),  # windscreen
    ((20, 548, 306, 724), (206, 548, 221, 724)),  # panel and bumper below it
    ((300, 470, 345, 538), (206, 400, 221, 480)),  # door
    ((300, 538, 345, 575), (206, 590, 221, 620)),
    ((424, 650, 466, 700), (468, 650, 484, 700)),  # bollards
    ((656, 618, 694, 690), (636, 618, 652, 690)),
)
_FRONT_WHEEL = (345, 575, 45, 160)  # axis x, top y, half width, height: right half mirrored left
_REAR_AXIS, _REAR_TOP = 722, 390  # right of the axis a man hides the bus: mirrored from the left


@dataclass(frozen=True, slots=True)
class CutOut:
    """One figure, cut out.

    Attributes:
        pixels: uint8 (height, width, 3), BGR.
        alpha: uint8 (height, width), 255 inside the figure.
    """

    pixels: Pixels
    alpha: Pixels

    def scaled(self, height: int, *, mirrored: bool) -> CutOut:
        """The figure at a height of `height` pixels, with an edge one pixel soft."""
        width = max(1, round(self.alpha.shape[1] * height / self.alpha.shape[0]))
        pixels = cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self.alpha, (width, height), interpolation=cv2.INTER_AREA)
        if mirrored:
            pixels, alpha = cv2.flip(pixels, 1), cv2.flip(alpha, 1)
        return CutOut(np.asarray(pixels, np.uint8), np.asarray(alpha, np.uint8))


def source_image() -> Path:
    """Path of the image. Does not import ultralytics, which takes seconds.

    Raises:
        ConfigError: ultralytics, or the image in it, is not installed.
    """
    spec = importlib.util.find_spec("ultralytics")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        image = Path(folder) / "assets" / "bus.jpg"
        if image.is_file():
            return image
    raise ConfigError(
        "the demo needs the image assets/bus.jpg of the ultralytics package.",
        hint="Install the project's locked requirements again.",
    )


def load_image() -> Pixels:
    """The image as uint8 (1080, 810, 3), BGR. Raises ConfigError if it is another image."""
    source = source_image()
    try:
        image = np.asarray(simplejpeg.decode_jpeg(source.read_bytes(), "BGR"), np.uint8)
    except (OSError, ValueError):
        raise _another_image(source) from None
    if image.shape != (1080, 810, 3):
        raise _another_image(source)
    return image


def _another_image(source: Path) -> ConfigError:
    return ConfigError(
        f"{source} is not the 810x1080 image that the demo is made from.",
        hint="Install the version of ultralytics that requirements.lock names.",
    )


def cut_out(image: Pixels, figure: Figure) -> CutOut:
    """Cut `figure` out of the image along its outline, at the image's resolution.

    Args:
        image: from `load_image`, uint8 (1080, 810, 3), BGR.
    """
    if figure is Figure.BUS:
        image = _repaired_bus(image)
    outline = np.array(_OUTLINES[figure], np.int32)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [outline], 255, lineType=cv2.LINE_AA)
    (x1, y1), (x2, y2) = outline.min(axis=0), outline.max(axis=0) + 1
    return CutOut(image[y1:y2, x1:x2].copy(), mask[y1:y2, x1:x2].copy())


def _repaired_bus(image: Pixels) -> Pixels:
    """The image with a complete bus: hidden parts are stretched or mirrored from visible ones."""
    bus = image.copy()
    for (x1, y1, x2, y2), (from_x1, from_y1, from_x2, from_y2) in _REPAIRS:
        donor = image[from_y1:from_y2, from_x1:from_x2]
        bus[y1:y2, x1:x2] = cv2.resize(donor, (x2 - x1, y2 - y1))
    axis, top, half, height = _FRONT_WHEEL
    wheel = bus[top : top + height, axis : axis + half]
    bus[top : top + height, axis - half : axis] = wheel[:, ::-1]
    hidden = bus.shape[1] - _REAR_AXIS
    seen = bus[_REAR_TOP:, _REAR_AXIS - hidden : _REAR_AXIS]
    bus[_REAR_TOP:, _REAR_AXIS:] = seen[:, ::-1]
    return bus
