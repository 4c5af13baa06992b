"""`atalaia secrets`: the file of secrets with which a cluster is started."""

from __future__ import annotations

import json
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.common import EXIT_FAILURE, Commands, err, out
from cluster.cli.findings import show_findings
from cluster.core.settings import load_settings
from cluster.local.doctor import Finding, Level
from cluster.local.files import create_private, write_private
from cluster.local.secret_backup import MAX_COPY, decrypt_by, decrypt_with, encrypt_to, encrypt_with
from cluster.local.secret_checks import examine_secrets
from cluster.local.secret_file import MAX_BYTES, RINGS, SecretFile, filled, finished, rotated
from pipelines.errors import AtalaiaError, ConfigError, ConflictError, InputError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Make, check and rotate the secrets of a cluster, in a file of VARIABLE=value lines.",
    epilog="Example: atalaia secrets init .env",
)

FileArgument = Annotated[
    Path, typer.Argument(help="The file: compose's .env, or one for docker's --env-file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def _text(path: Path, limit: int = MAX_BYTES) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(limit + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"cannot read {path}: {why}.",
            hint="Name another file. `atalaia secrets init FILE` makes one of secrets.",
        ) from None
    if len(text) > limit:
        raise ConfigError(f"{path} is too long for a file of secrets.", hint="Name another one.")
    return text


def _read(path: Path) -> SecretFile:
    text = _text(path)
    try:
        return SecretFile.parse(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from None


def _write(path: Path, file: SecretFile) -> None:
    try:
        # Where a link leads, so that the link stays one.
        write_private(path.resolve(), file.text())
    except OSError as error:
        hint = "Choose another place, or work as its owner."
        raise ConfigError(f"cannot write {path}: {error.strerror}.", hint=hint) from None


def _template(path: Path | None) -> SecretFile:
    if path is not None:
        return _read(path)
    return SecretFile.parse((files("configs") / "env.example").read_text(encoding="utf-8"))


@app.command("init", epilog="Example: atalaia secrets init .env")
def init(
    path: FileArgument,
    template: Annotated[
        Path | None,
        typer.Option(help="A file with the variables that there are to be; default: env.example."),
    ] = None,
) -> None:
    """Make the file, or add to it what it lacks: every secret is made up, and only you can read it.

    What has a value keeps it, so it may be run again after an upgrade.
    """
    before = _read(path) if path.exists() else SecretFile(())
    wanted = _template(template)
    start = before if before.lines else SecretFile(wanted.lines)
    after, made, empty = filled(start, wanted)
    _write(path, after)
    out().print(f"{path}: {len(made)} values made", markup=False)
    if empty:
        err().print("Fill in what only you know: " + ", ".join(empty), style="yellow", markup=False)


@app.command("validate", epilog="Example: atalaia secrets validate .env")
def validate(path: FileArgument, as_json: JsonOption = False) -> None:
    """Check that nothing is missing. Exit code 1 if something is.

    A file for the settings (ATALAIA_…__…) is read as every process will read it; one for compose is
    compared with env.example.
    """
    file = _read(path)
    _end(_settings(file) if any("__" in name for name in file.values) else _complete(file), as_json)


def _complete(file: SecretFile) -> list[Finding]:
    missing = [name for name in _template(None).values if not file.values.get(name)]
    if missing:
        remedy = "`atalaia secrets init` makes up secrets; the rest only you know."
        return [Finding("complete", Level.FAILURE, f"missing: {', '.join(missing)}", remedy)]
    return [Finding("complete", Level.OK, f"{len(file.values)} variables")]


def _settings(file: SecretFile) -> list[Finding]:
    """What the settings say to these variables, in place of those of this process."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("ATALAIA_")}
    kept = {name: ours[name] for name in ("ATALAIA_CONFIG", "ATALAIA_POD") if name in ours}
    try:
        for name in ours:
            del os.environ[name]
        os.environ.update(kept | {n: v for n, v in file.values.items() if n.startswith("ATALAIA_")})
        load_settings()
    except AtalaiaError as error:
        return [Finding("settings", Level.FAILURE, error.message, error.hint)]
    finally:
        for name in [name for name in os.environ if name.startswith("ATALAIA_")]:
            del os.environ[name]
        os.environ.update(ours)
    return [Finding("settings", Level.OK, "every process can read them")]


@app.command("check", epilog="Example: atalaia secrets check .env --history")
def check(
    path: FileArgument,
    history: Annotated[
        bool, typer.Option("--history", help="Also look at every commit; may take minutes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find secrets that are weak, used twice, readable by others or committed to git. Exit code 1
    if there are any. No secret is shown."""
    _end(examine_secrets(path.absolute(), _read(path).values, history=history), as_json)


@app.command("rotate", epilog="Example: atalaia secrets rotate .env DATABASE_ENCRYPTION_KEY")
def rotate(
    path: FileArgument,
    name: Annotated[str, typer.Argument(help="The variable.")],
    finish: Annotated[
        bool, typer.Option("--finish", help="Remove the former ones, which nobody needs any more.")
    ] = False,
    overlap: Annotated[
        bool, typer.Option(help="Refuse secrets of which only one can be good at a time.")
    ] = True,
) -> None:
    """Put a new secret in the place of one, and keep the former one beside it for as long as
    something may need it. Says what to do next."""
    file = _read(path)
    _write(path, finished(file, name) if finish else rotated(file, name, overlap=overlap))
    ring = RINGS.get(name)
    if finish:
        out().print(f"{name}: the former ones are gone. Restart every process.", markup=False)
    elif ring is None:
        out().print(f"{name}: new. Give it to the other end, too, and restart both.", markup=False)
    else:
        out().print(f"{name}: new; the former one is in {ring.former}.", markup=False)
        done = f"In the end: atalaia secrets rotate {path} {name} --finish"
        err().print(f"{ring.then} {done}", style="yellow", markup=False)


@app.command(
    "backup", epilog="Example: atalaia secrets backup .env env.age --recipient age1example"
)
def backup(
    path: Annotated[Path, typer.Argument(help="The file, or another short one: database.key.")],
    copy: Annotated[Path, typer.Argument(help="The encrypted copy, which must not exist yet.")],
    recipient: Annotated[
        list[str] | None,
        typer.Option(help="Public key of age, of whoever may read it; may be given again."),
    ] = None,
) -> None:
    """Write an encrypted copy, which every age program can read (age-encryption.org).

    Without a recipient it is for whoever knows a passphrase: asked for, or the first line of stdin.
    """
    content = _text(path).encode()
    if recipient:
        _create(copy, encrypt_to(content, recipient))
    else:
        _create(copy, encrypt_with(content, _passphrase(confirm=True)))
    out().print(f"{copy}: encrypted copy of {path}. Keep it, and the key, apart.", markup=False)


@app.command("restore", epilog="Example: atalaia secrets restore env.age .env --identity key.txt")
def restore(
    copy: Annotated[Path, typer.Argument(help="The encrypted copy.")],
    path: Annotated[Path, typer.Argument(help="Where to; must not exist yet.")],
    identity: Annotated[
        Path | None, typer.Option(help="File of the secret key, as age-keygen writes it.")
    ] = None,
) -> None:
    """Write the file that is in an encrypted copy, for you alone.

    Without a file of a key the passphrase is asked for, or is the first line of stdin.
    """
    content = _text(copy, MAX_COPY).encode()
    if identity is not None:
        found = decrypt_by(content, _text(identity))
    else:
        found = decrypt_with(content, _passphrase(confirm=False))
    _create(path, found)
    out().print(f"{path}: restored from {copy}", markup=False)


def _create(path: Path, content: bytes) -> None:
    if path.exists() or path.is_symlink():
        raise ConflictError(f"{path} exists.", hint="Move it away, or name another place.")
    try:
        create_private(path, content.decode())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "the content is no text"
        raise ConfigError(f"cannot write {path}: {why}.", hint="Name another place.") from None


def _passphrase(*, confirm: bool) -> str:
    if sys.stdin.isatty():
        given = str(
            typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
        )
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise InputError(
            "there is no passphrase.", hint="Type one, or give it as the first line of stdin."
        )
    return given


def _end(findings: list[Finding], as_json: bool) -> None:
    if as_json:
        out().print(json.dumps([finding.as_dict() for finding in findings], indent=2), markup=False)
    else:
        show_findings(findings)
    if any(finding.level is Level.FAILURE for finding in findings):
        raise typer.Exit(EXIT_FAILURE)
