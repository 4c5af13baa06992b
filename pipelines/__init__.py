"""The field's vocabulary and the pure pipeline on it: detections in, tracks and alarms out."""
