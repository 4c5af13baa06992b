"""Whatever is wrong with settings, files and servers: no command shows a secret of them.

Which secrets and which commands there are is read from the product; each command runs as in the
example of its own help.
"""

from __future__ import annotations

import io
import json
import logging
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
import typer
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.core.settings import Settings, load_settings
from cluster.relay.server import RelayConfig
from pipelines.errors import ConfigError
from tests.planted import Search, planted, secret_settings, variable
from tests.ports import free_port

LISTS = secret_settings()
SECRETS = {name: planted(name) for name in LISTS}
CAMERA = planted("camera")

URLS = {
    "redis.url": "redis://:{secret}@127.0.0.1:{port}/0",
    "database.url": "postgresql+psycopg://atalaia:{secret}@127.0.0.1:{port}/atalaia",
    "database.tenant_url": "postgresql+psycopg://tenants:{secret}@127.0.0.1:{port}/atalaia",
    "database.migration_url": "postgresql+psycopg://owner:{secret}@127.0.0.1:{port}/atalaia",
}
"""Settings that are secret because an address may hold a password. No server is at these."""

POD, POD_URL = "vault", "https://vault.example"

PROVIDER = {
    "tenant": "acme",
    "title": "Acme",
    "issuer": "https://login.acme.example",
    "client_id": "atalaia",
    "default_role": "viewer",
}
MAPPINGS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "redis.passwords": ("redis.passwords", lambda secret: {"api": secret}),
    "auth.providers.client_secret": (
        "auth.providers",
        lambda secret: {"corp": PROVIDER | {"client_secret": secret}},
    ),
}
"""Secrets inside of mappings: the setting, and what it holds then."""

FOREVER = {
    "up": "e2e/test_secrets.py",
    "demo": "e2e/test_secrets.py",
    "relay": "e2e/test_secrets.py",
    "servers": "builds servers; reads no secret",
    "jobs follow": "waits for a job",
}
"""Commands that are not run here, and why."""

SEARCH = Search(SECRETS | {"a camera's password": CAMERA})


def test_every_secret_setting_is_planted() -> None:
    urls = {kind(name) for name in LISTS if name.endswith("url")}
    assert urls == URLS.keys(), (
        "a secret address is new: add to URLS here one of its kind, with {secret} in it and a port "
        "at which nothing listens"
    )
    assert len(SECRETS) >= 12


def kind(name: str) -> str:
    """A pod has secrets of the same kinds as the cluster itself."""
    return name.removeprefix("pods.")


def setting(name: str) -> str:
    """The setting that holds a secret."""
    found = MAPPINGS[kind(name)][0] if kind(name) in MAPPINGS else kind(name)
    return found if kind(name) == name else f"pods.{POD}.{found}"


def held(name: str) -> object:
    """What a file holds for a setting, with its secret in it."""
    if kind(name) in MAPPINGS:
        return MAPPINGS[kind(name)][1](SECRETS[name])
    if kind(name) in URLS:
        return URLS[kind(name)].format(secret=quote(SECRETS[name], safe=""), port=free_port())
    return [SECRETS[name]] if LISTS[name] else SECRETS[name]


def value(name: str) -> str:
    """What stands in the environment for a setting, with its secret in it."""
    found = held(name)
    return found if isinstance(found, str) else json.dumps(found)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything planted, and no server anywhere."""
    for name in SECRETS:
        monkeypatch.setenv(variable(setting(name)), value(name))
    monkeypatch.setenv(variable(f"pods.{POD}.url"), POD_URL)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ATALAIA_GATEWAY__USERNAME", "operator")
    for section in ("LIVEKIT", "GATEWAY"):
        monkeypatch.setenv(f"ATALAIA_{section}__MANAGED", "false")
    monkeypatch.setenv("ATALAIA_LIVEKIT__URL", f"ws://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ATALAIA_QDRANT__URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ATALAIA_API__PORT", str(free_port()))
    monkeypatch.setenv("ATALAIA_KEY", "atk_plantedq_" + "q" * 43)
    monkeypatch.setenv("ATALAIA_RAY__ADDRESS", f"127.0.0.1:{free_port()}")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the product and all libraries log."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    root.addHandler(handler)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(written))
    yield written
    root.removeHandler(handler)
    structlog.reset_defaults()


# ------------------------------------------------------------ settings


def refused(path: Path | None = None) -> str:
    """What a user sees of settings: the error, or all that their object shows of itself."""
    try:
        settings = load_settings(path)
    except ConfigError as error:
        return f"{error} {error.message} {error.hint} {error!r}"
    return f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize(
    "form", ["{it}", '"{it}', "[{it}", '["{it}"]', '{{"a": "{it}"}}', "{it}: 1"]
)
def test_a_wrong_variable_is_refused_without_what_it_holds(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(name), form.format(it=SECRETS[name]))
    assert SEARCH.found_in(refused().encode()) == set()


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_wrong_section_is_refused_without_what_it_holds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a forgotten level in the name of a variable."""
    section = variable(name.split(".")[0])
    for form in ("{it}", '{{"x": "{it}"}}', '["{it}"]'):
        monkeypatch.setenv(section, form.format(it=SECRETS[name]))
        assert SEARCH.found_in(refused().encode()) == set()


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize(
    "text",
    [
        "{section}:\n  {field}: '{it}\n",
        "{section}:\n  {field}: {{{it}\n",
        "{section}:\n  {field}: x\n {it}\n",
        "{section}:\n  {field}: @{it}\n",
        "{section}:\n\t{field}: {it}\n",
        "{section}: '{it}'\n",
        "{section}: ['{it}']\n",
        "{section}:\n  {field}: {{a: '{it}'}}\n",
        "{section}:\n  {field}: [['{it}']]\n",
        "{section}:\n  {field}: &{it}\n",
        "{section}:\n  {field}: !{it} x\n",
        "{section}:\n  {field}: *{it}\n",
        "{section}:\n  {field}: x\x07{it}\n",
        "'{it}'\n",
    ],
)
def test_a_broken_file_is_refused_without_what_it_holds(
    name: str, text: str, tmp_path: Path
) -> None:
    section, _, key = name.partition(".")
    path = tmp_path / "settings.yaml"
    path.write_text(text.format(section=section, field=key, it=SECRETS[name]), encoding="utf-8")
    assert SEARCH.found_in(refused(path).encode()) == set()


def test_what_is_wrong_is_said_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("redis:\n  url: @x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"settings\.yaml is not valid YAML, at line 2, column 8"):
        load_settings(path)
    monkeypatch.setenv("ATALAIA_AUTH__KEYS", "one, two")
    with pytest.raises(ConfigError, match=r"no valid JSON in the environment: ATALAIA_AUTH__KEYS"):
        load_settings()


def test_a_good_file_shows_no_secret_of_its_own(tmp_path: Path) -> None:
    content: dict[str, Any] = {"pods": {POD: {"url": POD_URL}}}
    for name in SECRETS:
        *sections, key = setting(name).split(".")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = held(name)
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert load_settings(path).auth.keys[0].get_secret_value() == SECRETS["auth.keys"]
    assert SEARCH.found_in(refused(path).encode()) == set()


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_settings_made_in_a_program_are_refused_in_the_same_way(name: str) -> None:
    section, _, key = name.partition(".")
    wrong: list[Any] = [[[SECRETS[name]]], {"a": SECRETS[name]}, SECRETS[name].encode() + b"\xff"]
    for bad in wrong:
        content: dict[str, Any] = {section: {key: bad}}
        with pytest.raises(ValidationError) as refusal:
            Settings(**content)
        assert SEARCH.found_in(str(refusal.value).encode()) == set()


def test_a_broken_file_of_the_relay_is_refused_without_what_it_holds() -> None:
    secret = SECRETS["gateway.secret"]
    for content in (f'{{"secret": "{secret}', f'{{"secret": ["{secret}"]}}', f'["{secret}"]'):
        with pytest.raises(ValidationError) as refusal:
            RelayConfig.model_validate_json(content)
        assert SEARCH.found_in(str(refusal.value).encode()) == set()


def test_credentials_of_a_bucket_are_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for form in ("s3://AKIA:{it}@bucket/prefix", "s3://AKIA:{it}", "s3a://AKIA:{it}@bucket"):
        monkeypatch.setenv("ATALAIA_BLOBS__URL", form.format(it=CAMERA))
        said = refused()
        assert "blobs.url" in said
        assert SEARCH.found_in(said.encode()) == set()


# ------------------------------------------------------------ commands


def commands(group: Any = None, way: str = "") -> dict[str, Any]:
    """Every command of the command line by its words."""
    group = group or typer.main.get_command(app)
    if not hasattr(group, "commands"):
        return {way.strip(): group}
    return {
        words: command
        for name, inner in group.commands.items()
        for words, command in commands(inner, f"{way} {name}").items()
    }


def example(command: Any) -> list[str]:
    """The arguments in the example of a command's help, with a secret for a camera's password."""
    text = (command.epilog or "").replace("viewer:secret@", f"viewer:{quote(CAMERA, safe='')}@")
    return shlex.split(text.partition("atalaia ")[2].rstrip(")"))


def test_every_command_has_an_example() -> None:
    assert len(commands()) >= 25
    assert FOREVER.keys() <= commands().keys()
    assert [words for words, command in commands().items() if len(example(command)) < 1] == []


@pytest.mark.parametrize("words", sorted(commands().keys() - FOREVER.keys()))
@pytest.mark.usefixtures("environment")
def test_no_command_shows_a_secret(
    words: str, logged: io.StringIO, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With every server away: what is said of that names no secret either."""
    monkeypatch.chdir(tmp_path)
    arguments = [word for word in example(commands()[words]) if word != "--follow"]
    if "-c" in arguments:
        del arguments[arguments.index("-c") : arguments.index("-c") + 2]
    result = CliRunner().invoke(app, arguments, input="x\nx\n")
    printed = capfd.readouterr()
    assert result.exit_code is not None
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    everything = [result.output, logged.getvalue(), printed.out, printed.err]
    shown = "\n".join(everything).encode()
    assert SEARCH.found_in(shown) == set()
    assert b"q" * 43 not in shown
    assert SEARCH.found_in_files([tmp_path]) == {}
