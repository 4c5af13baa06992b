"""`atalaia model …`: shows and replaces the model of a running detector."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from cluster.cli.api import find_platform_client
from cluster.cli.common import Commands, out, settings
from cluster.core.settings import KEY_VARIABLE

LOAD_TIMEOUT_S = 300.0
"""Loading, exporting and testing a model takes some 20 s on two idle cores."""

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Show and replace the detector's model, with the platform key.",
    epilog="Example: atalaia model set /models/mine.pt",
)

KeyOption = Annotated[
    str | None,
    typer.Option("--key", envvar=KEY_VARIABLE, help="Platform key. Default: the demo's."),
]


@app.command(epilog="Example: atalaia model show")
def show(key: KeyOption = None) -> None:
    """Show the detector's model."""
    client = find_platform_client(settings(), key)
    _print(asyncio.run(client.request("GET", "/v1/model")))


@app.command("set", epilog="Example: atalaia model set /models/mine.pt")
def replace(
    weights: Annotated[
        str, typer.Argument(help="Path on the detector's machines, or a name like yolov8s.pt.")
    ],
    key: KeyOption = None,
) -> None:
    """Replace the model without losing a frame; an unusable one is refused."""
    client = find_platform_client(settings(), key)
    with out().status("The detector loads, exports and tests the model …"):
        answer = asyncio.run(
            client.request("PUT", "/v1/model", {"weights": weights}, timeout_s=LOAD_TIMEOUT_S)
        )
    _print(answer)


def _print(model: dict[str, Any]) -> None:
    width, height = model["input_size"]
    out().print(
        f"{model['name']}: {len(model['labels'])} classes, {width}x{height}, "
        f"{model['runtime']} {model['precision']}, sha256 {model['sha256'][:12]}",
        markup=False,
    )
    if model.get("error"):
        out().print(f"last refused: {model['error']}", markup=False)
