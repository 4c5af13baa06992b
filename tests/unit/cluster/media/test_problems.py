"""Errors of gateways and libav, and the messages for a camera's owner."""

from __future__ import annotations

import pickle

import av.error
import pytest

from cluster.media.errors import (
    CameraProblem,
    UnreadableCameraError,
    problem_of,
    problem_of_av,
    unreadable,
)
from pipelines.errors import CameraError


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("streams: dial tcp 10.0.0.5:554: connect: connection refused", CameraProblem.REFUSED),
        ("streams: dial tcp 10.0.0.5:554: i/o timeout", CameraProblem.TIMEOUT),
        ("read tcp 10.0.0.1:1->10.0.0.5:554: i/o timeout", CameraProblem.TIMEOUT),
        ("streams: wrong user/pass", CameraProblem.CREDENTIALS),
        ("streams: user/pass not provided", CameraProblem.CREDENTIALS),
        ("streams: 401 Unauthorized", CameraProblem.CREDENTIALS),
        ("streams: wrong response on DESCRIBE", CameraProblem.NOT_FOUND),
        ("streams: 404 Not Found", CameraProblem.NOT_FOUND),
        ("dial tcp: lookup cam.invalid on 10.0.0.53:53: no such host", CameraProblem.DNS),
        ("dial tcp 10.0.0.5:554: connect: no route to host", CameraProblem.UNREACHABLE),
        ("dial tcp 10.0.0.5:554: connect: network is unreachable", CameraProblem.UNREACHABLE),
        ("tls: first record does not look like a TLS handshake", CameraProblem.TLS),
        ("x509: certificate has expired", CameraProblem.TLS),
        ("streams: codecs not matched: audio:PCMA => video:ANY", CameraProblem.UNSUPPORTED),
        ("streams: EOF", CameraProblem.LOST),
        ("read tcp: connection reset by peer", CameraProblem.LOST),
        ("something new", CameraProblem.UNKNOWN),
        ("", CameraProblem.UNKNOWN),
    ],
)
def test_gateway_texts(text: str, problem: CameraProblem) -> None:
    assert problem_of(text) is problem


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (av.error.HTTPUnauthorizedError(0, "x"), CameraProblem.CREDENTIALS),
        (av.error.HTTPNotFoundError(0, "x"), CameraProblem.NOT_FOUND),
        (av.error.ConnectionRefusedError(111, "x"), CameraProblem.REFUSED),
        (av.error.TimeoutError(110, "x"), CameraProblem.TIMEOUT),
        (av.error.ExitError(0, "x"), CameraProblem.TIMEOUT),
        (av.error.InvalidDataError(0, "x"), CameraProblem.UNSUPPORTED),
        (av.error.EOFError(0, "x"), CameraProblem.LOST),
        (av.error.OSError(113, "x"), CameraProblem.UNREACHABLE),
        (av.error.OSError(5, "x"), CameraProblem.UNKNOWN),
    ],
)
def test_libav_errors(error: av.error.FFmpegError, problem: CameraProblem) -> None:
    assert problem_of_av(error) is problem
    assert unreadable(error).problem is problem


@pytest.mark.parametrize("problem", CameraProblem)
def test_each_problem_tells_its_owner_what_to_do(problem: CameraProblem) -> None:
    error = UnreadableCameraError(problem)
    assert isinstance(error, CameraError)
    assert error.message.endswith(".")
    assert error.hint.endswith(".")


def test_lasting_problems_are_not_transient() -> None:
    assert not CameraProblem.CREDENTIALS.transient
    assert CameraProblem.REFUSED.transient


def test_it_crosses_processes_without_the_password() -> None:
    error = unreadable('Get "http://admin:hunter2@cam/x?pwd=hunter2": EOF')
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.problem, copy.detail, str(copy)) == (error.problem, error.detail, str(error))
    assert "hunter2" not in copy.detail + str(copy)
