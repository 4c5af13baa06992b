"""Digest and Basic authentication, against the examples in the RFCs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.relay.authentication import Login, parse_challenges

# RFC 7616, 3.9.1.
BOTH = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
)
CLIENT = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def login(user: str = "Mufasa", password: str = "Circle of Life") -> Login:
    return Login(user, password, client_nonce=lambda: CLIENT)


@pytest.mark.parametrize(
    ("headers", "response", "algorithm"),
    [
        (
            BOTH,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            "algorithm=SHA-256",
        ),
        (BOTH[::-1], "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", "SHA-256"),
        (BOTH[1:], "8ca523f5e9506fed4657c9700eebdbec", "qop=auth"),
    ],
)
def test_digest_as_rfc_7616_works_it_out(
    headers: tuple[str, ...], response: str, algorithm: str
) -> None:
    signed = login()
    assert signed.accept(parse_challenges(headers))
    value = signed.authorization("GET", "/dir/index.html")
    assert value
    assert f'response="{response}"' in value
    assert algorithm in value
    assert "nc=00000001" in value
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in value


def test_digest_without_qop_as_rfc_2069_works_it_out() -> None:
    """The example of RFC 2069, 2.4, as its errata correct it."""
    signed = login("Mufasa", "CircleOfLife")
    header = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    assert signed.accept(parse_challenges([header]))
    value = signed.authorization("GET", "/dir/index.html")
    assert value
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in value
    assert "qop" not in value
    assert "algorithm" not in value


def test_basic() -> None:
    signed = login("Aladdin", "open sesame")  # RFC 7617, 2
    assert signed.accept(parse_challenges(['Basic realm="WallyWorld"']))
    assert signed.authorization("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_the_strongest_challenge_is_used() -> None:
    one_line = 'Basic realm="r", Digest realm="r", nonce="n"'
    assert [c.algorithm for c in parse_challenges([one_line])] == ["MD5", ""]
    unknown = ['Digest realm="r", nonce="n", algorithm=SHA-3', 'Basic realm="r"']
    assert [c.digest for c in parse_challenges(unknown)] == [False]
    assert parse_challenges(["Negotiate", "Bearer x", 'Digest realm="no nonce"', ""]) == []
    assert parse_challenges(['Digest realm="r", nonce="n", qop="auth-int"']) == []


def test_a_wrong_password_is_tried_once() -> None:
    """Cameras lock after several wrong tries."""
    signed = login()
    assert signed.authorization("GET", "/") is None
    first = parse_challenges(['Digest realm="r", nonce="a"'])
    assert signed.accept(first)
    assert not signed.accept(first)
    assert not signed.accept(parse_challenges(['Digest realm="r", nonce="b"']))


def test_a_stale_nonce_is_replaced() -> None:
    signed = login()
    assert signed.accept(parse_challenges(['Digest realm="r", nonce="a", qop="auth"']))
    assert "nc=00000001" in (signed.authorization("GET", "/") or "")
    assert "nc=00000002" in (signed.authorization("GET", "/") or "")
    assert signed.accept(parse_challenges(['Digest realm="r", nonce="b", stale=TRUE, qop="auth"']))
    assert "nc=00000001" in (signed.authorization("GET", "/") or "")
    # The same nonce is not stale, whatever the camera says.
    assert not signed.accept(parse_challenges(['Digest realm="r", nonce="b", stale=true']))


def test_nothing_is_sent_without_a_user_name() -> None:
    nobody = Login("", "")
    assert not nobody.accept(parse_challenges(['Basic realm="r"']))
    assert nobody.authorization("GET", "/") is None
    assert "hunter2" not in repr(Login("me", "hunter2"))


@given(st.lists(st.text(max_size=80), max_size=3))
def test_arbitrary_headers_are_parsed_or_skipped(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.algorithm in ("", "MD5", "SHA-256", "MD5-sess", "SHA-256-sess")
