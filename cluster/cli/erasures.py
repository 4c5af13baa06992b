"""`atalaia erasure …`: shows erasures of a running Atalaia, and checks their receipts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cluster.cli.api import ApiClient, find_client, find_platform_client
from cluster.cli.audit import signing_settings
from cluster.cli.cameras import KeyOption, TenantOption
from cluster.cli.common import Commands, err, out, settings
from pipelines.erasure import ErasureState

if TYPE_CHECKING:  # the cryptography need not be loaded for `atalaia --help`
    from cluster.erasure.receipt import ReceiptKeys

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Show what was erased on request, and check receipts.",
    epilog="Example: atalaia erasure list",
)

_COLORS = {
    ErasureState.QUEUED: "yellow",
    ErasureState.RUNNING: "cyan",
    ErasureState.WAITING: "yellow",
    ErasureState.DONE: "green",
}
ErasureArgument = Annotated[
    str, typer.Argument(help="Id of the erasure, as `atalaia erasure list` shows it.")
]
PlatformOption = Annotated[
    bool, typer.Option("--platform", help="With the platform key: those of whole tenants.")
]


def _client(key: str | None, tenant: str | None, platform: bool) -> ApiClient:
    chosen = settings()
    return find_platform_client(chosen, key) if platform else find_client(chosen, key, tenant)


@app.command("list", epilog="Example: atalaia erasure list --json")
def list_erasures(
    platform: PlatformOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """List erasures, newest first."""
    client = _client(key, tenant, platform)
    found = asyncio.run(client.request("GET", "/v1/erasures"))["erasures"]
    if as_json:
        out().print(json.dumps(found, indent=2), markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("erasure", "of", "state", "asked", "ended", "reason"):
        table.add_column(column)
    for one in found:
        state = ErasureState(one["state"])
        table.add_row(
            one["id"],
            f"{one['objects']} objects" if one["objects"] else "the tenant",
            f"[{_COLORS[state]}]{state}[/]",
            one["created_at"][:19],
            (one["ended_at"] or "")[:19],
            one["reason"].replace("[", r"\["),
        )
    out().print(table)


@app.command(epilog="Example: atalaia erasure show 3f2b8c1e-0d6a-4a57-9d0e-5b1f1f0c9a77")
def show(
    erasure: ErasureArgument,
    receipt: Annotated[
        Path | None, typer.Option(help="Write the receipt into this file, if it is there.")
    ] = None,
    platform: PlatformOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Show how far an erasure is, and what it removed so far."""
    client = _client(key, tenant, platform)
    found = asyncio.run(client.request("GET", f"/v1/erasures/{erasure}"))
    if as_json:
        out().print(json.dumps(found, indent=2), markup=False)
    else:
        _show(found)
    if receipt is not None:
        if found["receipt"] is None:
            err().print("There is no receipt yet.", style="yellow")
            return
        receipt.write_text(json.dumps(found["receipt"], indent=2) + "\n", encoding="utf-8")
        err().print(f"Next: atalaia erasure verify {receipt}", style="dim", markup=False)


def _show(found: Mapping[str, Any]) -> None:
    out().print(f"{found['id']} is {found['state']}", markup=False)
    for step in found["steps"]:
        waits = f" for {step['waiting_for']}" if step["waiting_for"] else ""
        detail = f" ({step['detail']})" if step["detail"] else ""
        out().print(f"  {step['step']}: {step['state']}{waits}{detail}", markup=False)
    for count in found["removed"]:
        size = f", {count['bytes']:,} bytes" if count["bytes"] else ""
        out().print(f"  {count['kind']}: {count['removed']:,} removed{size}", markup=False)


@app.command(epilog="Example: atalaia erasure verify receipt.json")
def verify(
    receipt: Annotated[Path, typer.Argument(help="A receipt, or an erasure as the API shows it.")],
    public_key: Annotated[
        str | None,
        typer.Option(
            help="Public key, as `atalaia erasure key` shows it. Default: those of the settings."
        ),
    ] = None,
) -> None:
    """Check the signature of a receipt. Exit code 2 if it was changed."""
    from cluster.erasure import receipt as receipts

    found = receipts.read_receipt(receipt)
    if public_key is not None:
        kid, raw = receipts.public_key(public_key)
        receipts.verify(found, {kid: raw})
    else:
        receipts.verify(found, _keys().public)
    subject = found["subject"]
    things = f"{len(subject['erased'])} objects" if "erased" in subject else "everything"
    out().print(
        f"verified: {things} of {found['tenant']}, asked at {found['asked_at']} by "
        f"{found['asked_by']}, ended at {found['ended_at']}",
        markup=False,
    )


@app.command(epilog="Example: atalaia erasure key")
def key() -> None:
    """Show the public keys with which receipts can be checked, the current one first."""
    keys = _keys()
    for kid, raw in keys.public.items():
        out().print(f"{kid} {raw.hex()}", markup=False)


def _keys() -> ReceiptKeys:
    from cluster.erasure.receipt import ReceiptKeys

    return ReceiptKeys.of(signing_settings())
