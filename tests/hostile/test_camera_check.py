"""`atalaia camera test` against hostile cameras: the right item fails, with the right mend."""

from __future__ import annotations

import asyncio
import io
import json
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.media.errors import CameraProblem
from tests.hostile.camera import TICKS, HostileCamera, digest
from tests.ports import free_port
from tests.unit.cluster.media.clips import Clip, demux, encode

Findings = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def loopback_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATALAIA_GATEWAY__ALLOW", '["private", "public", "127.0.0.1"]')


async def run(*arguments: str, typed: str | None = None) -> Result:
    """The command as an installer calls it."""
    words = ["camera", "test", "--seconds", "2", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, app, words, typed)


async def findings(*arguments: str) -> tuple[int, Findings]:
    result = await run("--json", *arguments)
    return result.exit_code, {found["item"]: found for found in json.loads(result.stdout)}


def verdicts(found: Findings) -> dict[str, str]:
    return {item: finding["verdict"] for item, finding in found.items()}


async def test_a_good_camera_with_its_substream(clip: Clip) -> None:
    small = encode({"profile": "main"}, frames=25, gop=25, size=(80, 48))
    camera = HostileCamera(clip, password="p@ss", challenges=(digest("SHA-256"),), pace_s=0.04)
    async with camera.serving(), HostileCamera(small, pace_s=0.04).serving() as sub:
        url = camera.url("admin:p%40ss")
        code, found = await findings(url, "--substream", sub.url())
        assert (code, set(verdicts(found).values())) == (0, {"ok"}), found
        assert list(found) == [
            "reach", "sign-in", "description", "codec", "size", "picture", "key frames",
            "time stamps", "packet loss", "clock", "sub-stream",
        ]  # fmt: skip
        assert "h264 Main, 160x96" in found["codec"]["detail"]
        shown = await run("-", typed=f"{url}\n")
        assert shown.exit_code == 0
        assert "✓ packet loss" in shown.stdout
        assert "p@ss" not in shown.output
        assert "p%40ss" not in shown.output


async def test_what_fails_is_named_with_its_mend_and_ends_the_check(clip: Clip) -> None:
    camera = HostileCamera(clip, password="p@ss", challenges=(digest("MD5"),))
    async with camera.serving():
        code, found = await findings(camera.url("admin:wrong"))
        assert (code, verdicts(found)) == (1, {"reach": "ok", "sign-in": "failure"})
        assert found["sign-in"]["hint"] == CameraProblem.CREDENTIALS.hint
        assert camera.asked["wrong"] == 1
        camera.challenges = ("NTLM",)
        code, found = await findings(camera.url("admin:p%40ss"))
        assert found["sign-in"]["detail"] == CameraProblem.SIGN_IN.reason
    code, found = await findings(f"rtsp://127.0.0.1:{free_port()}/x")
    assert (code, verdicts(found)) == (1, {"reach": "failure"})
    code, found = await findings("rtsp://127.0.0.2/x")
    assert found["reach"]["detail"] == CameraProblem.NOT_ALLOWED.reason
    assert (await run("not a url")).exit_code == 2


async def test_a_silent_camera(clip: Clip) -> None:
    async with HostileCamera(clip, sends=lambda _: False).serving() as camera:
        code, found = await findings(camera.url())
        assert (code, found["stream"]["detail"]) == (1, CameraProblem.SILENT.reason)
        assert found["sign-in"]["verdict"] == "warning"  # it asks for no password


async def test_a_wrong_path_is_an_item_of_its_own(clip: Clip) -> None:
    async with HostileCamera(clip, status={"DESCRIBE": "404 Not Found"}).serving() as camera:
        code, found = await findings(camera.url())
        assert (code, verdicts(found)) == (1, {"reach": "ok", "path": "failure"})
        assert found["path"]["hint"] == CameraProblem.NOT_FOUND.hint


def still(picture: npt.NDArray[np.uint8]) -> Clip:
    """One key frame, sent for ever. Args: `picture`: uint8 (height, width, 3)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="h264") as output:
        stream = output.add_stream("libx264", rate=25, options={"profile": "main"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv420p", 25
        stream.codec_context.max_b_frames = 0
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return demux(io.BytesIO(buffer.getvalue()))


async def test_a_picture_that_shows_nothing() -> None:
    noise = np.random.default_rng(1).integers(20, 230, (12, 20, 3), np.uint8)
    for picture, fault in (
        (np.zeros((96, 160, 3), np.uint8), "black"),
        (noise.repeat(8, 0).repeat(8, 1), "frozen"),
    ):
        async with HostileCamera(still(picture), pace_s=0.04).serving() as camera:
            code, found = await findings(camera.url())
            assert (code, found["picture"]["verdict"]) == (0, "warning"), found
            assert fault in found["picture"]["detail"]
            assert found["picture"]["hint"]


async def test_sound_alone(clip: Clip) -> None:
    sound = ["m=audio 0 RTP/AVP 96", "a=rtpmap:96 PCMA/8000", "a=control:track1"]
    async with HostileCamera(clip, bend=lambda lines: [*lines[:5], *sound]).serving() as camera:
        code, found = await findings(camera.url())
        assert (code, found["description"]["detail"]) == (1, CameraProblem.NO_VIDEO.reason)


async def test_odd_habits_are_warnings(clip: Clip) -> None:
    second = ["m=video 0 RTP/AVP 97", "a=rtpmap:97 H264/90000", "a=control:track2"]
    camera = HostileCamera(
        clip,
        bend=lambda lines: [*lines, *second],
        ticks=lambda n: n * TICKS + n // 10 * 90_000 * 3600,
        sends=lambda n: n % 25 != 0 or n < 50,
        pace_s=0.04,
    )
    async with camera.serving():
        code, found = await findings(camera.url(), "--substream", camera.url() + "x" * 5)
        assert code == 0, found
        seen = verdicts(found)
        assert {item for item, verdict in seen.items() if verdict == "warning"} >= {
            "sign-in", "description", "time stamps",
        }  # fmt: skip
        assert all(finding["hint"] for finding in found.values() if finding["verdict"] != "ok")


async def test_a_substream_that_is_missing_or_of_another_shape(clip: Clip) -> None:
    square = encode({"profile": "main"}, frames=25, gop=25, size=(96, 96))
    missing = HostileCamera(clip, status={"DESCRIBE": "404 Not Found"})
    async with (
        HostileCamera(clip, pace_s=0.02).serving() as camera,
        HostileCamera(square, pace_s=0.02).serving() as other,
        missing.serving(),
    ):
        code, found = await findings(camera.url(), "--substream", other.url())
        assert (code, found["sub-stream"]["verdict"]) == (0, "warning")
        assert "aspect ratio" in found["sub-stream"]["detail"]
        code, found = await findings(camera.url(), "--substream", missing.url())
        assert (code, found["sub-stream"]["detail"]) == (1, CameraProblem.NOT_FOUND.reason)
