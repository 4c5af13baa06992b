"""The audit log without SQL: what is logged, how entries are chained, anchors, and the queue."""
