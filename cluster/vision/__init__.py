"""Models without Ray: weights, exports, runtimes, embedders; all of it runs in plain processes."""

import os

# ultralytics would otherwise install packages by itself, at run time, from wherever pip looks.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
