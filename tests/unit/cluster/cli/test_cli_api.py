from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from cluster.cli.api import _problem, camera_line, find_client
from cluster.cli.common import exit_code, show_error
from cluster.cli.view import LineView
from cluster.core.settings import Settings
from cluster.local.stack import Phase, StackEvent
from pipelines.domain import CameraState
from pipelines.errors import (
    AtalaiaError,
    ConfigError,
    ConflictError,
    InputError,
    NotFoundError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, NotFoundError, 2),
        (409, ConflictError, 2),
        (422, InputError, 2),
        (401, InputError, 2),
        (503, UnavailableError, 1),
        (500, UnavailableError, 1),
    ],
)
def test_a_refusal_keeps_the_message_of_the_api(
    status: int, kind: type[AtalaiaError], code: int
) -> None:
    error = _problem(httpx.Response(status, json={"detail": "no such thing.", "hint": "Look."}))
    assert type(error) is kind
    assert (error.message, error.hint) == ("no such thing.", "Look.")
    assert exit_code(error) == code


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors": ["x"]}'])
def test_a_response_that_is_not_problem_json_is_still_a_readable_error(body: bytes) -> None:
    assert "502" in _problem(httpx.Response(502, content=body)).message


def test_fields_that_the_message_does_not_name_are_added() -> None:
    errors = [{"pointer": "#/id", "detail": "too long"}, {"pointer": "#/url", "detail": "no URL"}]
    error = _problem(httpx.Response(422, json={"detail": "wrong: #/id too long", "errors": errors}))
    assert error.message == "wrong: #/id too long\n  #/url: no URL"


def test_a_missing_key_has_a_hint_how_to_get_one() -> None:
    assert "atalaia key create" in _problem(httpx.Response(401, json={"detail": "no"})).hint


def shown(state: str, **more: Any) -> dict[str, Any]:
    return {"id": "gate", "state": state, "reason": "", "stats": {}, **more}


def test_a_live_camera_shows_its_rates_and_another_its_reason() -> None:
    live = camera_line("acme", shown("live", stats={"fps": 24.9, "watched_fps": 5.02}))
    assert live.detail == "25 fps, 5.0 analysed/s"
    assert camera_line("acme", shown("offline", reason="refused")).detail == "refused"
    assert live.state is CameraState.LIVE


def test_the_key_given_wins_over_the_demo(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(InputError, match="any tenant"):
        find_client(settings, None, None)
    settings.run_dir.mkdir()
    keys = {"platform": "p", "acme": "a", "globex": "g"}
    (settings.run_dir / "demo.json").write_text(json.dumps({"api": "x", "keys": keys}))

    def key_of(key: str | None, tenant: str | None) -> str:
        return find_client(settings, key, tenant)._headers["Authorization"]

    assert key_of(None, None) == "Bearer a"
    assert key_of(None, "globex") == "Bearer g"
    assert key_of("mine", "globex") == "Bearer mine"
    for wrong in ("nobody", "platform"):
        with pytest.raises(InputError, match="acme, globex"):
            find_client(settings, None, wrong)


def test_a_broken_demo_file_is_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.run_dir.mkdir()
    (settings.run_dir / "demo.json").write_text("{")
    with pytest.raises(ConfigError, match=r"demo\.json"):
        find_client(settings, None, None)


def test_no_credential_is_ever_shown() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    error = UnavailableError(
        "cannot read rtsp://u:hunter2@h/", hint="try rtsp://u:hunter2@h/ again"
    )
    show_error(error, console)
    view = LineView(console)
    view.event(StackEvent("go2rtc", Phase.LOST, "rtsp://u:hunter2@h/ failed"))
    view.step("pulling rtsp://u:hunter2@h/")
    output = stream.getvalue()
    assert "hunter2" not in output
    assert output.count("***@h") == 4


def test_markup_in_foreign_text_is_not_interpreted() -> None:
    stream = io.StringIO()
    view = LineView(Console(file=stream, width=200))
    view.step("[red]x[/red] and [/nonsense]")
    assert "[red]x[/red] and [/nonsense]" in stream.getvalue()
