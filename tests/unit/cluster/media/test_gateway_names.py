"""Stream names, sources, and go2rtc's media descriptions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.core.settings import GatewaySettings, LiveKitSettings, Settings
from cluster.media.gateway import StreamName
from cluster.media.gateway_choice import make_gateway
from cluster.media.go2rtc import Go2RtcGateway, audio_codecs
from cluster.media.mediamtx import MediaMtxGateway
from cluster.media.sealing import GatewayKeys, Seal
from pipelines.domain import SLUG_PATTERN, CameraKey
from pipelines.errors import ConfigError

SECRET = "0123456789abcdef0123456789abcdef-x"

slugs = st.from_regex(SLUG_PATTERN, fullmatch=True).filter(lambda s: not s.endswith("\n"))


@given(slugs, slugs, st.booleans())
def test_stream_names_parse(tenant: str, camera: str, sub: bool) -> None:
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


def settings(**gateway: Any) -> Settings:
    return Settings(
        livekit=LiveKitSettings(api_secret=SecretStr(SECRET)),
        gateway=GatewaySettings.model_validate(gateway),
    )


async def test_pull_urls_hold_a_name_that_nobody_can_guess() -> None:
    login = {"username": "b@d", "password": "p/w"}
    gateway = make_gateway(settings(rtsp_url="rtsp://gw", **login))
    url = gateway.rtsp_url("acme.front").get_secret_value()
    sealed = GatewayKeys.of(settings(**login)).names.seal("acme.front")
    assert url == f"rtsp://b%40d:p%2Fw@gw:554/{sealed}?video"
    assert "acme" not in sealed
    assert "p%2Fw" not in f"{gateway.rtsp_url('acme.front')!r}"
    other = make_gateway(settings(secret="another secret of at least 32 characters", **login))
    assert sealed not in other.rtsp_url("acme.front").get_secret_value()
    await gateway.aclose()
    await other.aclose()


async def test_make_gateway() -> None:
    for kind, expected in (("go2rtc", Go2RtcGateway), ("mediamtx", MediaMtxGateway)):
        gateway = make_gateway(settings(kind=kind))
        assert isinstance(gateway, expected)
        await gateway.aclose()


def test_a_managed_gateway_has_a_password_of_its_own() -> None:
    keys = GatewayKeys.of(settings())
    assert keys.username == "atalaia"
    assert keys.password is not None
    assert len(keys.password.get_secret_value()) == 64
    assert SECRET not in keys.password.get_secret_value()
    assert GatewayKeys.of(settings(managed=False)).password is None
    with pytest.raises(ConfigError, match="must be set together"):
        GatewayKeys.of(settings(username="me"))
    with pytest.raises(ConfigError, match="5 characters"):
        GatewayKeys.of(settings(secret="short"))
    with pytest.raises(ConfigError, match=r"neither gateway\.secret"):
        GatewayKeys.of(Settings())


@given(st.text(max_size=300), st.text(min_size=1, max_size=300))
def test_what_is_sealed_is_opened_by_the_same_purpose_only(text: str, other: str) -> None:
    names, sources = Seal(SECRET, "names"), Seal(SECRET, "sources")
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    sealed = names.seal(text)
    assert names.open(sealed) == text
    assert names.seal(text) == sealed
    assert sources.open(sealed) is None
    assert names.open(other) is None
    assert names.open(sealed[:-1]) is None
    assert names.open("A" + sealed) is None


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
