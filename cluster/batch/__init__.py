"""Recordings looked at again: the live pipeline over files, with Ray Data, as a job.

sources → chunks that start at key frames → workers that decode and detect (`look`) → tables of
detections (`table`) → one camera's pipeline in order (`fold`) → alarms, objects, paths (`outcome`).
"""
