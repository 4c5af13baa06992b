"""Models without Ray: weights, exports, runtimes, embedders; all of it runs in plain processes."""

from cluster.calls_home import silence_models

silence_models()
