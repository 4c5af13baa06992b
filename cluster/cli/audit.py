"""`atalaia audit`: checks the audit log in the database, and anchors it outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.cli.common import EXIT_FAILURE, Commands, err, out, settings
from cluster.core.settings import Settings
from cluster.core.tenancy import require_tenant
from cluster.local.secrets import with_livekit_secret
from cluster.stores.audit.events import PLATFORM_CHAIN
from pipelines.errors import AtalaiaError, InputError, NotFoundError

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.stores.audit.anchors import Anchor, AnchorKeys
    from cluster.stores.audit.chain import Finding, Head
    from cluster.stores.db import Database

Anchored = Mapping[str, Mapping[int, str]]
"""Hashes by chain and sequence number."""

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Check the audit log in the configured database, and anchor it outside.",
    epilog="Example: atalaia audit verify",
)


@app.command(epilog="Example: atalaia audit verify --tenant acme --anchors anchors.jsonl")
def verify(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's log.")] = None,
    platform: Annotated[bool, typer.Option("--platform", help="Only the platform's own.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All logs; this is the default.")] = False,
    anchors: Annotated[
        Path | None,
        typer.Option(help="File of anchors. Default: the periodic ones, if they are here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Recompute the hashes of the audit log. Exit code 1 if a row was changed or is missing.

    Without anchors, rows that were cut off at the end of a log are not noticed.
    """
    if (tenant is not None) + platform + every > 1:
        raise InputError("--tenant, --platform and --all exclude each other.")
    if tenant is not None:
        require_tenant(tenant)
    only = PLATFORM_CHAIN if platform else tenant
    checked, found = asyncio.run(_verify(only, anchors))
    if as_json:
        report = {
            "rows": {chain: head.sequence for chain, head in checked.items()},
            "findings": [asdict(finding) for finding in found],
        }
        out().print(json.dumps(report, indent=2), markup=False)
    else:
        _show(checked, found)
    if found:
        raise typer.Exit(EXIT_FAILURE)


@app.command(epilog="Example: atalaia audit anchor --out /mnt/elsewhere/anchors.jsonl")
def anchor(
    target: Annotated[
        Path | None, typer.Option("--out", help="File to append to. Default: stdout.")
    ] = None,
) -> None:
    """Sign where every audit log ends now, as JSON Lines. Keep them away from the database."""
    made, refused = asyncio.run(_anchor())
    _give_out(target, made)
    for chain in refused:
        err().print(
            f"{_name(chain)}: not anchored, Atalaia did not write its last row: run `atalaia audit "
            "verify`.",
            style="red",
            markup=False,
        )
    if refused:
        raise typer.Exit(EXIT_FAILURE)


def _give_out(target: Path | None, made: list[Anchor]) -> None:
    if target is None:
        for one in made:
            out().print(one.model_dump_json(), markup=False)
        return
    from cluster.stores.audit.anchors import append_anchors

    try:
        append_anchors(target, made)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}.") from None
    out().print(f"{len(made)} anchors added to {target}", markup=False)


def _name(chain: str) -> str:
    return chain or "(platform)"


def _show(checked: Mapping[str, Head], found: list[Finding]) -> None:
    faulty = {finding.chain for finding in found}
    lines: list[tuple[str, str, str | None]] = [
        (chain, f"{head.sequence} rows, whole", None)
        for chain, head in checked.items()
        if chain not in faulty
    ]
    lines += [
        (one.chain, f"row {one.sequence} {one.fault.value}: {one.detail}", "red") for one in found
    ]
    for chain, text, style in sorted(lines, key=lambda line: line[0]):
        out().print(f"{_name(chain)}: {text}", style=style, markup=False)


async def _verify(only: str | None, anchors: Path | None) -> tuple[dict[str, Head], list[Finding]]:
    """Heads of the chains that were read, and what is wrong; `only`: one chain, None: all."""
    from cluster.stores.audit.chain import foreign
    from cluster.stores.db import Database

    anchored = await asyncio.to_thread(_anchored, anchors)
    checked: dict[str, Head] = {}
    found: list[Finding] = []
    async with Database.of(settings()) as database:
        for chain in await _chains(database, anchored, only):
            checked[chain], finding = await _check(database, chain, anchored.get(chain, {}))
            found += [finding] if finding is not None else []
        if only is None:
            strangers = await database.audit_heads().strangers()
            found += [foreign(name, rows) for name, rows in strangers.items()]
    return checked, found


async def _chains(database: Database, anchored: Anchored, only: str | None) -> list[str]:
    """Every chain that there is or, by the anchors, was; or the one that was asked for.

    Raises:
        NotFoundError: that one never had an entry, as far as anybody knows.
    """
    known = (await database.audit_heads()()).keys() | anchored.keys()
    if only is None:
        return sorted(known)
    if only not in {*known, PLATFORM_CHAIN}:
        raise NotFoundError(
            f"there is no log of {only!r}: neither rows nor anchors.",
            hint="Correct the name; `atalaia audit verify` shows every log. If this one should be "
            "there, it was deleted: look for it with --anchors and a copy that is kept elsewhere.",
        )
    return [only]


async def _check(
    database: Database, chain: str, anchors: Mapping[int, str]
) -> tuple[Head, Finding | None]:
    """Read one chain from its beginning to its end, or to its first fault."""
    from cluster.stores.audit.chain import ChainCheck

    check = ChainCheck(chain, anchors)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err(), transient=True) as progress:
        bar = progress.add_task(_name(chain))
        try:
            log = database.audit_chain(chain)
            progress.update(bar, total=await log.count())
            async for page in log.entries():
                for entry in page:
                    if (finding := check.feed(entry)) is not None:
                        return check.head, finding
                progress.advance(bar, len(page))
        except AtalaiaError as error:
            return check.head, check.unreadable(str(error))
    return check.head, check.end()


def _anchored(path: Path | None) -> Anchored:
    """The checked anchors of a file, or of the periodic one where there is none."""
    from cluster.stores.audit.anchors import FILE_NAME, by_chain, read_anchors

    source = path or settings().anchor_dir / FILE_NAME
    if path is None and not source.exists():
        err().print("No anchors: a log whose end was cut off looks whole.", style="yellow")
        return {}
    return by_chain(read_anchors(source), _keys())


def _keys() -> AnchorKeys:
    from cluster.stores.audit.anchors import AnchorKeys

    return AnchorKeys.of(signing_settings())


def signing_settings() -> Settings:
    """The settings with the secret that signs anchors and receipts."""
    chosen = settings()
    # On one machine the secret is LiveKit's, which was generated there.
    return chosen if chosen.audit.secret else with_livekit_secret(chosen)


async def _anchor() -> tuple[list[Anchor], list[str]]:
    from cluster.stores.audit.anchors import sign_heads
    from cluster.stores.db import Database
    from pipelines.clock import SystemClock

    keys = _keys()
    async with Database.of(settings()) as database:
        heads = await database.audit_heads()()
    return sign_heads(keys, heads, SystemClock().now_us())
