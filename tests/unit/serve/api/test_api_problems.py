"""Errors quote a bounded and harmless piece of what was sent."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipelines.errors import InputError, QuotaReachedError
from serve.api.dashboard import public_files
from serve.api.problems import (
    MAX_DETAIL,
    MAX_FIELD_ERRORS,
    MAX_POINTER,
    MAX_QUOTED,
    field_errors,
    problem_response,
    quoted,
    response_for,
)
from serve.api.times import LAST_US, micros, rfc3339

# What is added where something was cut.
NOTE = 60


def test_what_is_quoted_is_short_and_holds_no_credential() -> None:
    assert quoted("image/png") == "image/png"
    assert len(quoted("a." * 10_000)) < MAX_QUOTED + NOTE
    assert "hunter2"[:3] not in quoted("x" * (MAX_QUOTED - 20) + " rtsp://viewer:hunter2@host/")


def test_details_and_hints_are_cut() -> None:
    problem = json.loads(response_for(InputError("a." * 10_000, hint="b." * 10_000)).body)
    assert problem["detail"].startswith("a.a.")
    assert len(problem["detail"]) < MAX_DETAIL + NOTE
    assert len(problem["hint"]) < MAX_DETAIL + NOTE


def test_a_limit_that_is_reached_names_its_quota_also_from_another_process() -> None:
    error = QuotaReachedError("Enough.", hint="Remove one.", quota="cameras")
    answer = response_for(pickle.loads(pickle.dumps(error)))
    assert answer.status_code == 409
    problem = json.loads(answer.body)
    assert (problem["code"], problem["quota"]) == ("quota-exceeded", "cameras")
    assert "quota" not in json.loads(response_for(InputError("a")).body)


def test_half_a_surrogate_pair_can_be_sent() -> None:
    assert json.loads(problem_response(422, "a \ud800").body)["detail"] == "a ?"


@pytest.mark.parametrize("where", ["body", "query"])
def test_wrong_values_are_named_shortly(where: str) -> None:
    name = "\ud800" + "rtsp://viewer:hunter2@h " * 1_000
    [found] = field_errors([{"loc": (where, name), "msg": f"Value error, {name}", "type": "x"}])
    shown = found.pointer or found.parameter or ""
    assert 0 < len(shown) < MAX_POINTER + NOTE
    assert len(found.detail) < MAX_DETAIL + NOTE
    assert "hunter2" not in found.model_dump_json()


def test_not_every_one_of_many_wrong_values_is_named() -> None:
    errors = [{"loc": ("body", str(n)), "msg": "no", "type": "x"} for n in range(10_000)]
    assert len(field_errors(errors)) == MAX_FIELD_ERRORS


@pytest.mark.parametrize(
    ("moment", "at_us"),
    [
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=23))), 0),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1_000_000),
        (datetime.max.replace(tzinfo=UTC), LAST_US),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))), LAST_US),
    ],
)
def test_every_time_has_a_place(moment: datetime, at_us: int) -> None:
    assert micros(moment) == at_us
    assert rfc3339(at_us).endswith("Z")


def test_only_files_beside_the_page_are_public(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name in ("index.html", ".gitkeep", "icon.svg", "assets/main.js"):
        (tmp_path / name).touch()
    assert public_files(tmp_path) == {"index.html", "icon.svg"}
    assert public_files(tmp_path / "none") == frozenset()
