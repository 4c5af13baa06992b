"""Evidence: alarm clips, recording exports, and the detections shown with them."""
