"""Recordings: what the bridge carries, kept as fragmented MP4 without encoding it again."""
