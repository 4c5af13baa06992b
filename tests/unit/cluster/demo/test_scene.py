"""The ground truth of composed scenes matches their frames."""

from __future__ import annotations

import numpy as np
import pytest

from cluster.demo.backdrops import Backdrop
from cluster.demo.cutouts import Figure, cut_out, load_image
from cluster.demo.scene import Actor, Scene, Stage, Waypoint
from cluster.demo.scripts import SCENES

SIZE = (640, 360)


@pytest.fixture(scope="module", params=SCENES, ids=lambda scene: scene.name)
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param, SIZE)


def test_the_seam_of_the_loop_is_an_empty_scene(stage: Stage) -> None:
    empty = stage.background
    last = stage.scene.frames - 1
    assert stage.truth().frames[0] == stage.truth().frames[last] == ()
    np.testing.assert_array_equal(stage.frame(0), empty)
    np.testing.assert_array_equal(stage.frame(last), empty)


def test_the_ground_truth_is_where_the_frame_changes(stage: Stage) -> None:
    """Differences from the backdrop lie within the boxes, except for parts of shadows."""
    truth = stage.truth()
    for number in range(0, stage.scene.frames, 37):
        changed = np.abs(stage.frame(number).astype(int) - stage.background).max(axis=2) > 60
        covered = np.zeros_like(changed)
        for seen in truth.frames[number]:
            x1, y1, x2, y2 = seen.box
            covered[
                max(0, int(y1 * 360) - 2) : int(y2 * 360) + 25,
                max(0, int(x1 * 640) - 25) : int(x2 * 640) + 25,
            ] = True
        assert not (changed & ~covered).any(), f"something is outside every box of frame {number}"
        for seen in truth.frames[number]:
            x1, y1, x2, y2 = (int(v * side) for v, side in zip(seen.box, SIZE * 2, strict=True))
            if seen.visible > 0.5:
                assert changed[y1:y2, x1:x2].mean() > 0.2, f"{seen.actor} is not in frame {number}"


def test_the_ground_truth_does_not_depend_on_the_size(stage: Stage) -> None:
    large = Stage(stage.scene, (1280, 720)).truth()
    for number, objects in enumerate(stage.truth().frames):
        by_actor = {o.actor: o for o in large.frames[number]}
        for seen in objects:
            if seen.visible > 0.1:
                assert seen.box == pytest.approx(by_actor[seen.actor].box, abs=0.01)


def test_figures_move_slowly_enough_for_a_tracker_at_five_frames_a_second(stage: Stage) -> None:
    """Between two analysed frames a box overlaps itself by more than half."""
    step = stage.scene.fps // 5
    truth = stage.truth()
    for actor in truth.actors():
        boxes = {n: o.box for n, o in truth.of(actor) if o.visible > 0.9}
        pairs = [(boxes[n], boxes[n + step]) for n in boxes if n + step in boxes]
        assert pairs
        assert min(_iou(a, b) for a, b in pairs) > 0.5, actor


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.mark.parametrize("figure", Figure)
def test_cut_outs_are_solid_figures(figure: Figure) -> None:
    cut = cut_out(load_image(), figure)
    assert cut.pixels.shape[:2] == cut.alpha.shape
    assert 0.4 < (cut.alpha > 127).mean() < 0.95
    mirrored = cut.scaled(100, mirrored=True)
    assert mirrored.alpha.shape[0] == 100
    np.testing.assert_array_equal(mirrored.alpha[:, ::-1], cut.scaled(100, mirrored=False).alpha)


@pytest.mark.parametrize(
    "trajectory",
    [
        (Waypoint(1, 0, 0),),
        (Waypoint(2, 0, 0), Waypoint(1, 1, 0)),
        (Waypoint(1, 0, 0), Waypoint(1, 1, 0)),
    ],
)
def test_a_path_needs_two_waypoints_in_order(trajectory: tuple[Waypoint, ...]) -> None:
    with pytest.raises(ValueError, match="at least two waypoints, in time order"):
        Actor("x", Figure.BUS, 0.5, trajectory)


@pytest.mark.parametrize("ends", [(0.0, 5.0), (1.0, 10.0)])
def test_a_figure_must_enter_and_leave_within_the_loop(ends: tuple[float, float]) -> None:
    trajectory = (Waypoint(ends[0], 0, 0.5), Waypoint(ends[1], 1, 0.5))
    with pytest.raises(ValueError, match="within the loop"):
        Scene("x", Backdrop.STREET, 10.0, (Actor("a", Figure.BUS, 0.5, trajectory),))


def test_figures_move_at_constant_speed() -> None:
    actor = Actor("a", Figure.BUS, 0.5, (Waypoint(1, 0, 0.2), Waypoint(3, 1, 0.4)))
    assert actor.position(2) == pytest.approx((0.5, 0.3))
    assert actor.position(0.99) is None
    assert actor.position(3.0) is None
