"""Stream names, sources and what go2rtc says of media."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.media.gateway import StreamName, checked_source, make_gateway, rtsp_pull_url
from cluster.media.go2rtc import Go2RtcGateway, audio_codecs
from cluster.media.mediamtx import MediaMtxGateway
from cluster.settings import GatewaySettings
from pipelines.domain import SLUG_PATTERN, CameraKey
from pipelines.errors import InputError

slugs = st.from_regex(SLUG_PATTERN, fullmatch=True).filter(lambda s: not s.endswith("\n"))


@given(slugs, slugs, st.booleans())
def test_names_say_what_they_carry(tenant: str, camera: str, sub: bool) -> None:
    name = StreamName(CameraKey(tenant, camera), sub)
    assert StreamName.parse(str(name)) == name


@pytest.mark.parametrize(
    "name", ["", ".", "a", "a.", ".b", "a.b.c", "a.b.sub.sub", "A.b", ".sub", "a.sub.b"]
)
def test_foreign_names(name: str) -> None:
    assert StreamName.parse(name) is None


def test_a_camera_called_sub_is_no_sub_stream() -> None:
    assert StreamName.parse("acme.sub") == StreamName(CameraKey("acme", "sub"))
    assert StreamName.parse("acme.sub.sub") == StreamName(CameraKey("acme", "sub"), sub=True)


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("rtsp://gw:8554/acme.front", True),
        ("rtsp://GW:8554/acme.front.sub?video", True),
        ("rtsp://u:p@gw:8554//acme%2efront", True),
        ("rtsp://gw:8554/demo-street", False),
        ("rtsp://gw/acme.front", False),
        ("rtsp://other:8554/acme.front", False),
        ("rtsp://10.0.0.5:8554/stream.sdp", False),
    ],
)
def test_sources_on_the_gateway_itself(url: str, refused: bool) -> None:
    settings = GatewaySettings(rtsp_url="rtsp://gw:8554")
    if refused:
        with pytest.raises(InputError, match="of this gateway"):
            checked_source(SecretStr(url), settings)
    else:
        checked_source(SecretStr(url), settings)


def test_pull_urls() -> None:
    settings = GatewaySettings(
        rtsp_url="rtsp://gw", username="b@d", password=SecretStr("p/w"), kind="go2rtc"
    )
    url = rtsp_pull_url(settings, "acme.front", "?video")
    assert url.get_secret_value() == "rtsp://b%40d:p%2Fw@gw:554/acme.front?video"
    assert "p%2Fw" not in f"{url} {url!r}"


async def test_make_gateway() -> None:
    for kind, expected in (("go2rtc", Go2RtcGateway), ("mediamtx", MediaMtxGateway)):
        gateway = make_gateway(GatewaySettings.model_validate({"kind": kind}))
        assert isinstance(gateway, expected)
        await gateway.aclose()


def test_audio_codecs() -> None:
    medias = [
        "video, recvonly, H264 High 4.2",
        "audio, recvonly, PCMA/8000, MPEG4-GENERIC/16000",
        "audio, sendonly, PCMU/8000",
        "audio, recvonly, PCMA/8000",
        "application",
        "",
    ]
    assert audio_codecs(medias) == ("PCMA", "MPEG4-GENERIC")
