"""The domain vocabulary and the pure pipeline: detections in, tracks and alarms out."""
