"""Uploads in hand are counted, of all tenants and of each."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from pipelines.errors import UnavailableError
from serve.api.uploads import UploadSlots


def test_one_tenant_leaves_slots_to_the_others() -> None:
    slots = UploadSlots(total=3, per_tenant=2)
    with ExitStack() as held:
        held.enter_context(slots.slot("acme"))
        held.enter_context(slots.slot("acme"))
        with pytest.raises(UnavailableError):
            held.enter_context(slots.slot("acme"))
        held.enter_context(slots.slot("globex"))
        with pytest.raises(UnavailableError):
            held.enter_context(slots.slot("globex"))
        assert slots.taken == 3
    assert slots.taken == 0


def test_a_slot_comes_back_after_an_error() -> None:
    slots = UploadSlots(total=1, per_tenant=1)

    with pytest.raises(RuntimeError), slots.slot("acme"):
        raise RuntimeError

    assert slots.taken == 0
