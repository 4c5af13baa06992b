"""What did not reach the records, as operators are told."""

from __future__ import annotations

from cluster.runtime.losses import Losses
from cluster.stores.bus.listener import Loss


def test_losses_are_summed_by_what_and_why() -> None:
    counted: list[tuple[str, Loss, int]] = []
    losses = Losses(lambda what, loss, count: counted.append((what, loss, count)))
    assert losses.sentence() is None
    told = [("alarms", Loss.TRIMMED, 2), ("tracks", Loss.DEAD, 1), ("alarms", Loss.TRIMMED, 3)]
    for what, loss, count in told:
        losses.add(what, loss, count)
    assert counted == told
    assert losses.sentence() == "not recorded: alarms 5 (trimmed), tracks 1 (dead)"
