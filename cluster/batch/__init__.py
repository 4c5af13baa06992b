"""Reprocessing of recordings: the live pipeline over video files, as a Ray Data job.

sources → chunks that start at key frames → workers that decode and run inference (`infer`) →
tables of detections (`table`) → one camera's pipeline, in order (`replay`) → alarms, objects and
paths (`writer`).
"""
