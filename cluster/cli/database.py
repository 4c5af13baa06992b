"""`atalaia database`: encrypts the secrets in the database with the current key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.cli.access import log_change
from cluster.cli.common import EXIT_FAILURE, Commands, err, out, settings
from cluster.local.secrets import with_database_key

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.stores.db import RecordCipher, Reencrypted

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Encrypt the secrets in the configured database with the current key.",
    epilog="Example: atalaia database re-encrypt",
)


@app.command("re-encrypt", epilog="Example: atalaia database re-encrypt --check")
def re_encrypt(
    check: Annotated[bool, typer.Option("--check", help="Change nothing, only report.")] = False,
    compact: Annotated[
        bool,
        typer.Option(
            help="SQLite: rebuild the file, so that no old text is left in it. Needs as much disk "
            "again, and keeps others from writing meanwhile."
        ),
    ] = True,
) -> None:
    """Encrypt all URLs of cameras with database.encryption_key: those that are plain text, from
    before there was encryption, and those with another key.

    Run it after an upgrade and after a change of the key, while Atalaia runs or not. It may be
    interrupted and repeated. Exit code 1 if something cannot be decrypted or, with --check, if
    something is not encrypted with the current key.
    """
    from cluster.stores.db import RecordCipher

    cipher = RecordCipher.of(with_database_key(settings()))
    found = asyncio.run(_re_encrypt(cipher, write=not check))
    _show(found, str(cipher.kid), check)
    if found.outdated and not check:
        log_change("secrets.reencrypt", "key", str(cipher.kid), None)
    if compact and not check:
        asyncio.run(_compact())
    if found.unreadable or (check and found.outdated):
        raise typer.Exit(EXIT_FAILURE)


async def _re_encrypt(cipher: RecordCipher, *, write: bool) -> Reencrypted:
    from cluster.stores.db import Database, Reencrypted

    found = Reencrypted()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    async with Database.of(settings(), cipher=cipher) as database:
        secrets = database.secrets()
        with Progress(*columns, TimeRemainingColumn(), console=err(), transient=True) as progress:
            bar = progress.add_task("cameras", total=await secrets.rows())
            async for page in secrets.pages(write=write):
                found += page
                progress.advance(bar, page.rows)
    return found


async def _compact() -> None:
    from cluster.stores.db import Database

    async with Database.of(settings()) as database:
        if not await database.compact():
            err().print(
                "The file was in use all the time, so old text may be left in it. Stop Atalaia, "
                "and run this again.",
                style="yellow",
            )


def _show(found: Reencrypted, kid: str, check: bool) -> None:
    done = "are not encrypted with" if check else "are now encrypted with"
    out().print(
        f"{found.rows} cameras: {found.outdated} secrets {done} key {kid} ({found.plain} plain "
        f"text, {found.other} with another key); {found.current} had it already",
        markup=False,
    )
    for lost in found.unreadable:
        err().print(f"{lost.tenant}/{lost.camera}: {lost.reason}", style="red", markup=False)
    if not found.unreadable and not (check and found.outdated):
        err().print("No other key is needed any more.", style="dim")
