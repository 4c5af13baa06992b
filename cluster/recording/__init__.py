"""Recording: what the bridge receives, stored as fragmented MP4 without re-encoding."""
