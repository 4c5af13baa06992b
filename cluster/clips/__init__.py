"""Evidence: the clip of an alarm, exports of a recording, and the boxes that go with them."""
