"""Camera URLs: what people paste, what must come out, and what must never come out."""

from __future__ import annotations

import contextlib
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.media.sealing import Seal
from cluster.media.target import Target, open_target, seal_target
from cluster.media.urls import CameraUrl, normalize_camera_url, parse_camera_url, public_url
from pipelines.errors import InputError

NASTY = r"""@#%?{}:/ &=+;,'"\`$!*()[]<>^|~é日🔑"""

# Any text a person can type, without line breaks.
passwords = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=24
)


def looks_encoded(text: str) -> bool:
    return unquote(text) != text


def looks_like_host(text: str) -> bool:
    """Whether `text` holds an @ and a dotted host that closes: the documented ambiguity."""
    return "@" in text and ("." in text or "[" in text or "localhost" in text.lower())


@pytest.mark.parametrize("char", NASTY)
@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "encoded"])
@pytest.mark.parametrize("host", ["10.1.2.3:554", "cam.example.com", "[2001:db8::7]:8554"])
def test_each_character_survives(char: str, encoded: bool, host: str) -> None:
    for password in (f"pa{char}ss", f"{char}pass", f"pass{char}", char, f"a{char}b{char}1"):
        written = quote(password, safe="") if encoded else password
        url = parse_camera_url(f"rtsp://admin:{written}@{host}/stream1?channel=1")
        assert (url.username, url.password) == ("admin", password)
        assert url.target == "/stream1?channel=1"
        standard = urlsplit(url.encoded)
        assert standard.password is not None
        assert unquote(standard.password) == password
        assert standard.hostname == url.host


@given(passwords)
@example(NASTY)
@example("%")
@example("100%")
@example("12/34")
@example("a/b@c/d")
def test_any_raw_password_survives(password: str) -> None:
    if looks_encoded(password) or looks_like_host(password):
        return
    url = parse_camera_url(f"rtsp://admin:{password}@10.1.2.3:554/stream")
    assert (url.password, url.host, url.port) == (password, "10.1.2.3", 554)
    assert url.target == "/stream"


@given(user=passwords, password=passwords)
@example(user="a:b@c", password="%2540@9.9.9.9/")
def test_any_encoded_credentials_survive_unconditionally(user: str, password: str) -> None:
    url = parse_camera_url(f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@cam/s?x=1")
    assert (url.username, url.password, url.host) == (user, password, "cam")
    assert parse_camera_url(url.encoded) == url


@given(passwords, passwords)
def test_normalizing_twice_changes_nothing(password: str, path: str) -> None:
    try:
        once = normalize_camera_url(f"rtsp://admin:{password}@10.1.2.3:554/{path}")
    except InputError:
        return
    assert normalize_camera_url(once) == once


@given(st.text(max_size=60))
@example("rtsp://")
@example("rtsp://:@")
@example("rtsp://@:99999")
def test_nonsense_raises_input_error_only(text: str) -> None:
    for raw in (text, f"rtsp://{text}"):
        public_url(raw)
        try:
            normalize_camera_url(raw)
        except InputError:
            continue


@given(passwords)
def test_the_public_url_never_holds_the_password(password: str) -> None:
    secret = f"S3cr3t{password}T41l"
    for raw in (
        f"rtsp://admin:{secret}@10.1.2.3:554/s",
        f"rtsp://admin:{quote(secret, safe='')}@10.1.2.3:554/s",
        f"rtsp://admin:12/{secret}@cam/s",
        f"exec:rtsp://admin:{secret}@10.1.2.3",
        f"rtsp://admin:{secret}",
    ):
        shown = public_url(raw)
        assert "S3cr3t" not in shown
        assert "T41l" not in shown


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("rtsp://u:p@10.0.0.5/s", "rtsp://***@10.0.0.5/s"),
        ("RTSP://10.0.0.5:554/s", "rtsp://10.0.0.5:554/s"),
        ("http://cam/v?user=a&password=b&ch=1", "http://cam/v?user=***&password=***&ch=1"),
        ("http://cam/v?Usr=a&PWD=b@c#d e", "http://cam/v?Usr=***&PWD=***"),
        ("http://cam/v?ch=1&pwd=a/b?c", "http://cam/v?ch=1&pwd=***"),
        (
            "rtsp://10.0.0.5/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?real",
            "rtsp://10.0.0.5/user=***_password=***_channel=1_stream=0.sdp?real",
        ),
        (
            "rtsp://10.0.0.5/user=a&password=b&channel=1",
            "rtsp://10.0.0.5/user=***&password=***&channel=1",
        ),
        ("echo:password", "***"),
        ("rtsp://", "rtsp://***"),
    ],
)
def test_public_url(raw: str, expected: str) -> None:
    assert public_url(raw) == expected


@pytest.mark.parametrize(
    ("raw", "host", "password", "target"),
    [
        # An @ in a path or query of a URL without credentials is no credential.
        ("rtsp://10.0.0.5:554/live@main", "10.0.0.5", None, "/live@main"),
        ("rtsp://cam/x@10.0.0.1", "cam", None, "/x@10.0.0.1"),
        ("http://cam/v?user=a&pwd=p@10.0.0.1", "cam", None, "/v?user=a&pwd=p@10.0.0.1"),
        ("rtsp://10.0.0.5:554/a@b.example.com/c", "10.0.0.5", None, "/a@b.example.com/c"),
        # Rule 2: the host that looks like one.
        ("rtsp://admin:12/34@10.0.0.1/s", "10.0.0.1", "12/34", "/s"),
        ("rtsp://admin:p@ss/word@10.0.0.1/s", "10.0.0.1", "p@ss/word", "/s"),
        ("rtsp://admin:a/b@cam/s@2", "cam", "a/b", "/s@2"),
        ("rtsp://admin:a?b@10.0.0.1/s@v1.2", "10.0.0.1", "a?b", "/s@v1.2"),
        ("rtsp://admin:#1@10.0.0.1", "10.0.0.1", "#1", ""),
        # Rules 3 and 4.
        ("rtsp://admin:a:b@10.0.0.1", "10.0.0.1", "a:b", ""),
        ("rtsp://admin:100%@10.0.0.1", "10.0.0.1", "100%", ""),
        ("rtsp://admin:50%4@10.0.0.1", "10.0.0.1", "50%4", ""),
        ("rtsp://admin:%40%@10.0.0.1", "10.0.0.1", "%40%", ""),
        ("rtsp://admin:%2540@10.0.0.1", "10.0.0.1", "%40", ""),
        ("rtsp://admin:@10.0.0.1/s", "10.0.0.1", "", "/s"),
        ("rtsp://admin@10.0.0.1/s", "10.0.0.1", None, "/s"),
        # Hosts.
        ("rtsp://a:b@[fe80::1%25eth0]:554/s", "fe80::1%eth0", "b", "/s"),
        ("rtsp://a:b@[2001:DB8::0:7]/s", "2001:db8::7", "b", "/s"),
        ("rtsp://a:b@Cam-1.LAN:8554/S", "cam-1.lan", "b", "/S"),
        ("rtsp://a:b@câmera.example/s", "xn--cmera-3qa.example", "b", "/s"),
        # Targets.
        ("http://cam/a b/{input}?x=${HOME}", "cam", None, "/a%20b/%7Binput%7D?x=$%7BHOME%7D"),
        ("http://cam/50%/x%20y?q=#z", "cam", None, "/50%25/x%20y?q=%23z"),
    ],
)
def test_readings(raw: str, host: str, password: str | None, target: str) -> None:
    url = parse_camera_url(raw)
    assert (url.host, url.password, url.target) == (host, password, target)
    assert parse_camera_url(url.encoded) == url


@pytest.mark.parametrize(
    "raw",
    [
        "exec:rm -rf /",
        "exec://ffmpeg -i x",
        "EXEC:touch /tmp/x",
        "echo:curl evil",
        "expr:1+1",
        "ffmpeg:rtsp://a/b#video=h264",
        "ffmpeg:device?video=0",
        "file:///etc/passwd",
        "pipe:0",
        "concat:/etc/passwd",
        "onvif://u:p@cam",
        "tcp://cam:80",
        "httpx://cam/x",
        "rtspx://cam/x",
        "hass:x",
        "ngrok://x",
        "webrtc:http://x",
        "homekit://x",
        "isapi://a:b@cam",
        "javascript:alert(1)",
        "rtsp:cam/x",
        "rtsp:/cam/x",
        "//cam/x",
        "cam/x",
        "10.0.0.5",
        "",
        " ",
        "rtsp://",
        "rtsp:///x",
        "rtsp://user:pw@/x",
        "rtsp://cam:0/x",
        "rtsp://cam:65536/x",
        "rtsp://cam:abc/x",
        "rtsp://fe80::1/x",
        "rtsp://[fe80::zz]/x",
        "rtsp://[::1/x",
        "rtsp://cam/x\nexec:y",
        "rtsp://cam/\x00",
        "rtsp://cam/x#backchannel=0",
        "http://cam/x#header=Host: evil",
        "rtsp://cam/x#video=h264#hardware",
        "rtsp://cam/" + "x" * 5000,
    ],
)
def test_refused(raw: str) -> None:
    with pytest.raises(InputError) as caught:
        normalize_camera_url(raw)
    assert caught.value.message


def test_a_leading_space_hides_no_scheme() -> None:
    with pytest.raises(InputError):
        normalize_camera_url("  exec:id")


@given(passwords)
def test_no_error_tells_the_password(password: str) -> None:
    secret = f"S3cr3t{password}"
    for raw in (
        f"exec://admin:{secret}@cam",
        f"rtsp://admin:{secret}@cam:99999/x",
        f"rtsp://a:{secret}",
    ):
        with contextlib.suppress(InputError):
            normalize_camera_url(raw)
            continue
        with pytest.raises(InputError) as caught:
            normalize_camera_url(raw)
        assert "S3cr3t" not in str(caught.value)


def test_nothing_of_a_target_can_reach_a_gateways_own_syntax() -> None:
    url = parse_camera_url("rtsp://u:${X}{input}#a=b@10.0.0.1/${Y}/{input}?z=#q")
    for text in (url.encoded, url.with_port()):
        assert not set(text) & set("{}#\"'<>\\ `")


def test_repr_is_public() -> None:
    assert "hunter2" not in repr(parse_camera_url("rtsp://a:hunter2@cam/x?pwd=hunter2"))


def test_with_port_writes_the_default() -> None:
    assert parse_camera_url("rtsp://[::1]/x").with_port() == "rtsp://[::1]:554/x"
    assert CameraUrl("http", "", None, "cam", 81, "/v").with_port() == "http://cam:81/v"


@pytest.mark.parametrize("written", ["u%0D%0AX:p@", "u:p%0d%0aX@", "u%00:p@", "u:%7F@"])
def test_no_control_character_comes_in_by_an_escape(written: str) -> None:
    """It would end a line of a request to the camera, and begin one of its own."""
    with pytest.raises(InputError, match="escaped line break"):
        parse_camera_url(f"rtsp://{written}cam.example/1")


def test_a_url_is_bounded_in_the_form_in_which_it_is_sealed() -> None:
    """Each emoji is four bytes, and each byte three characters."""
    with pytest.raises(InputError, match="percent-encoded") as refused:
        parse_camera_url(f"rtsp://admin:{'😀' * 400}@10.0.0.5/s")
    assert refused.value.hint
    seal = Seal("a-secret-of-at-least-32-characters", "sources")
    for count in range(330, 345):
        try:
            url = parse_camera_url(f"rtsp://admin:{'😀' * count}@10.0.0.5/s")
        except InputError:
            continue
        target = Target("acme", url)
        assert open_target(seal, seal_target(seal, target)) == target


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("led", [False, True])
def test_a_sealed_target_is_opened_as_it_was(part: bool, led: bool) -> None:
    seal = Seal("a-secret-of-at-least-32-characters", "sources")
    target = Target("acme", parse_camera_url("rtsp://a:b@10.0.0.5/s"), part=part, led=led)
    assert open_target(seal, seal_target(seal, target)) == target
