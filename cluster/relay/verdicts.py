"""The verdicts of a camera's check-up, item by item, with what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.gateway import ProbeResult
from cluster.relay.rtp_watch import RtpReport
from pipelines.domain import PictureFault

KEY_DISTANCE_S = 4.5
"""Cameras send a key frame every 1 to 4 s; viewers wait for the next one."""
TRANSCODED_DISTANCE_S = 12.0
"""As `cluster.media.h264.MAX_KEY_INTERVAL_S`."""
CLOCK_OFFSET_S = 2.0
"""More is visible beside the time that the camera writes into its picture."""
RATIO_TOLERANCE = 0.03
"""As `cluster.controller.streams.RATIO_TOLERANCE`."""
SQUEEZED = {
    (960, 1080): "16:9", (640, 720): "16:9", (960, 576): "16:9", (960, 480): "16:9",
    (352, 576): "4:3", (352, 480): "4:3", (704, 288): "4:3", (704, 240): "4:3",
}  # fmt: skip
"""Sizes of analogue and hybrid recorders whose pixels are far from square, and what they show."""

_SIGN_IN = frozenset({CameraProblem.CREDENTIALS, CameraProblem.SIGN_IN})
_REACH = frozenset(
    {
        CameraProblem.REFUSED,
        CameraProblem.DNS,
        CameraProblem.UNREACHABLE,
        CameraProblem.TLS,
        CameraProblem.NOT_ALLOWED,
        CameraProblem.LED_AWAY,
    }
)


_SIGHTS = {
    PictureFault.BLACK: (
        "nothing but black",
        "If it is light there: check the lens cap, the camera's exposure, and whether it masks "
        "everything.",
    ),
    PictureFault.GLARE: (
        "mostly dazzled",
        "Turn the camera away from the light, or switch its backlight compensation on.",
    ),
    PictureFault.COVERED: (
        "an even surface, as of a covered lens",
        "Look whether something is before the lens.",
    ),
    PictureFault.FROZEN: (
        "one picture again and again",
        "If something moves before it, restart the camera or the recorder that it comes from.",
    ),
    PictureFault.BLURRED: ("blurred", "Clean the lens, and focus it."),
    PictureFault.MOVED: ("another scene than before", "Look where it points."),
}


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one item.

    Attributes:
        hint: what to do; empty where all is well.
    """

    item: str
    verdict: Verdict
    detail: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return {
            "item": self.item,
            "verdict": self.verdict.value,
            "detail": self.detail,
            "hint": self.hint,
        }


def fine(item: str, detail: str) -> Finding:
    return Finding(item, Verdict.OK, detail)


def warn(item: str, detail: str, hint: str) -> Finding:
    return Finding(item, Verdict.WARNING, detail, hint)


def of_failure(error: UnreadableCameraError, item: str) -> Finding:
    """A failure, under the item that it is about; else under the one that was being looked at."""
    if error.problem in _SIGN_IN:
        item = "sign-in"
    elif error.problem in _REACH:
        item = "reach"
    elif error.problem is CameraProblem.NOT_FOUND:
        item = "path"
    elif error.problem is CameraProblem.SILENT:
        item = "stream"
    return Finding(item, Verdict.FAILURE, error.message, error.hint)


def of_sight(fault: PictureFault | None, seconds: float) -> Finding:
    """What the decoded picture shows."""
    if fault is None:
        return fine("picture", f"something can be seen, and it changes, in {seconds:g} s")
    detail, hint = _SIGHTS[fault]
    return warn("picture", f"{detail} ({fault.value}, {seconds:g} s)", hint)


def of_format(result: ProbeResult) -> list[Finding]:
    """Codec, profile and size, as the bridge would take them."""
    size = f"{result.width}x{result.height}"
    name = " ".join(filter(None, (result.codec, result.profile)))
    codec = fine("codec", f"{name}, {size}, {result.fps:g} frames/s")
    if result.transcode_reason:
        codec = warn(
            "codec",
            f"{codec.detail}; it is transcoded: {result.transcode_reason}",
            "It works, for some 10 % of a core at 1080p. Set the camera to H.264 without B-frames, "
            "profile Baseline, Main or High, to save it.",
        )
    shape = SQUEEZED.get((result.width, result.height))
    if shape is None:
        return [codec, fine("size", size)]
    hint = f"If people look too thin or too wide, set the stream to a {shape} size in the camera."
    return [codec, warn("size", f"{size} is usually a squeezed {shape} picture", hint)]


def of_packets(report: RtpReport, encoding: str) -> list[Finding]:
    """Key frames, time stamps, losses and clock of a track that was watched for a while."""
    findings = [] if encoding.upper() not in ("H264", "H265") else [_key_frames(report)]
    return [*findings, _times(report), _losses(report), _clock(report)]


def _key_frames(report: RtpReport) -> Finding:
    hint = (
        "Set the key frame interval (I-frame interval, GOP) to 1 to 4 s, and switch the camera's "
        "smart codec off."
    )
    if report.key_distance_s is None:
        return warn("key frames", f"none in {report.seconds:.0f} s", hint)
    longest = f"at most {report.key_distance_s:.1f} s apart in {report.seconds:.0f} s"
    if report.key_distance_s > TRANSCODED_DISTANCE_S:
        return warn("key frames", f"{longest}: the stream is transcoded for viewers", hint)
    if report.key_distance_s > KEY_DISTANCE_S:
        return warn("key frames", f"{longest}: viewers wait that long", hint)
    return fine("key frames", longest)


def _times(report: RtpReport) -> Finding:
    hint = "Atalaia uses its own clock instead. Update the camera's firmware if recordings stutter."
    if report.jumps:
        return warn("time stamps", f"{report.jumps} jumps in {report.seconds:.0f} s", hint)
    if report.repeated > 1:
        return warn("time stamps", f"{report.repeated} of {report.frames} frames repeat one", hint)
    return fine("time stamps", f"even, {report.fps:g} frames/s")


def _losses(report: RtpReport) -> Finding:
    total = report.packets + report.lost
    detail = f"{report.lost} of {total} packets missing"
    if not report.lost:
        return fine("packet loss", detail)
    hint = "The camera drops what it cannot send: lower its bit rate, or check cable and switch."
    return warn("packet loss", detail, hint)


def _clock(report: RtpReport) -> Finding:
    if report.clock_offset_s is None:
        return fine("clock", "not reported")
    if abs(report.clock_offset_s) <= CLOCK_OFFSET_S:
        return fine("clock", f"{report.clock_offset_s:+.1f} s")
    return warn(
        "clock",
        f"{report.clock_offset_s:+.0f} s from this machine's",
        "Atalaia does not depend on it, but the time in the picture is wrong: set a time server "
        "(NTP) in the camera.",
    )


def of_substream(main: ProbeResult | None, sub: ProbeResult) -> Finding:
    """A sub-stream that can be read, beside the main stream."""
    detail = f"{sub.codec}, {sub.width}x{sub.height}, {sub.fps:g} frames/s"
    if main is not None:
        ratio = (main.width * sub.height) / max(1, main.height * sub.width)
        if not 1 / (1 + RATIO_TOLERANCE) <= ratio <= 1 + RATIO_TOLERANCE:
            return warn(
                "sub-stream",
                f"{detail}: another aspect ratio than the main stream's {main.width}x{main.height}",
                "Zones and boxes may be shifted: set both to the same ratio in the camera.",
            )
    if sub.transcode_reason:
        hint = "It works. Set it to H.264 without B-frames to save the work."
        return warn("sub-stream", f"{detail}; it is transcoded: {sub.transcode_reason}", hint)
    return fine("sub-stream", detail)
