"""The two composed scenes of the demo. A change affects footage, ground truth and tests.

Speeds suit a watcher at 5 frames/s: between two analysed frames a figure's box overlaps itself by
more than half, as trackers need.
"""

from __future__ import annotations

from cluster.demo.backdrops import Backdrop
from cluster.demo.cutouts import Figure
from cluster.demo.scene import Actor, Scene
from cluster.demo.scene import Waypoint as At

GATE = Scene(
    name="gate",
    backdrop=Backdrop.STREET,
    duration_s=30.0,
    actors=(
        Actor(
            "visitor",
            Figure.JACKET,
            0.52,
            (At(1.2, -0.12, 0.93), At(5.7, 0.42, 0.93), At(13.0, 0.42, 0.93), At(18.5, 1.12, 0.93)),
        ),
        Actor(
            "companion",
            Figure.COAT,
            0.48,
            (At(3.0, 1.08, 0.89), At(7.5, 0.66, 0.89), At(12.0, 0.66, 0.89), At(17.2, 1.10, 0.89)),
            mirrored=True,
        ),
        Actor("bus", Figure.BUS, 0.46, (At(17.0, 1.22, 0.69), At(26.5, -0.22, 0.69))),
        Actor("passer-by", Figure.COAT, 0.46, (At(17.6, -0.06, 0.85), At(28.8, 1.06, 0.85))),
    ),
)

YARD = Scene(
    name="yard",
    backdrop=Backdrop.YARD,
    duration_s=30.0,
    actors=(
        Actor(
            "bus",
            Figure.BUS,
            0.48,
            (At(1.2, -0.24, 0.72), At(5.2, 0.36, 0.72), At(13.2, 0.36, 0.72), At(19.2, 1.24, 0.72)),
            mirrored=True,
        ),
        Actor(
            "driver",
            Figure.COAT,
            0.50,
            (At(6.0, 1.08, 0.95), At(11.0, 0.58, 0.95), At(17.0, 0.58, 0.95), At(22.0, 1.12, 0.95)),
            mirrored=True,
        ),
        Actor(
            "guard",
            Figure.JACKET,
            0.54,
            (
                At(17.0, -0.12, 0.94),
                At(20.0, 0.26, 0.94),
                At(24.0, 0.26, 0.94),
                At(27.8, -0.14, 0.94),
            ),
        ),
    ),
)

SCENES = (GATE, YARD)
