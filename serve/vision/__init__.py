"""Models without Ray: weights, exports, runtimes, embedders; all of it runs in plain processes."""
