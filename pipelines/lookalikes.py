"""Classes that detectors confuse. Apart from `tracking`, because records need it and SciPy not."""

from __future__ import annotations

# Classes that detectors confuse for the same object from frame to frame. They are tracked as one
# group, so that a parked van does not become a new object each time it is classified as a truck.
LOOKALIKES = {
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "van": "vehicle",
    "bicycle": "cycle",
    "motorcycle": "cycle",
}
