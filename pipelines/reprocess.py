"""The batch driver: the live pipeline over recordings or any video files.

    ray job submit --working-dir . -- python -m pipelines.reprocess --tenant acme --camera gate
    python -m pipelines.reprocess --tenant acme --camera gate --dry-run 's3://bucket/2026/*.mp4'

Only the command line is here; the implementation is in `cluster.batch`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cluster.batch.request import DetectorChoice, parse_request, read_rules
from cluster.cli.common import exit_code, out, settings, show_error, use_config
from cluster.core.settings import CONFIG_VARIABLE
from pipelines.errors import AtalaiaError, InputError
from pipelines.times import to_us

EPILOG = "Example: python -m pipelines.reprocess --tenant acme --camera gate --from 2026-01-31"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def reprocess(
    tenant: Annotated[str, typer.Option(help="Tenant of the camera.")],
    camera: Annotated[str, typer.Option(help="Id of the camera.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, globs, fsspec URLs. Default: the recordings."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="First capture time, ISO 8601; UTC by default.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="End of the capture times, exclusive.")] = None,
    warm_up: Annotated[
        float | None,
        typer.Option(help="Seconds before --from to analyse as well. Default: by the rules."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="When the first file starts. Default: its tag, else its mtime."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Other weights: a path, or a name like yolov8s.pt.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(help="JSON list of rules in place of the camera's; classes of the model."),
    ] = None,
    detector: Annotated[
        DetectorChoice,
        typer.Option(help="The live detector, at lower priority, or one in each worker."),
    ] = DetectorChoice.AUTO,
    dry_run: Annotated[bool, typer.Option(help="Only print the summary, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary for programs.")] = False,
    job: Annotated[
        UUID | None, typer.Option(help="Job record to update. Default: a new one.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", envvar=CONFIG_VARIABLE, help="Settings (YAML).")
    ] = None,
) -> None:
    """Analyse a camera's recordings, or video files, as its watcher would have.

    Results are written as if they had been found live. Idempotent: a second run adds nothing.
    """
    try:
        use_config(config)
        request = parse_request(
            tenant=tenant,
            camera=camera,
            from_us=_time(from_, "--from"),
            to_us=_time(to, "--to"),
            warm_up_s=warm_up,
            files=tuple(files or ()),
            start_us=_time(start, "--start"),
            model=model,
            rules=None if rules is None else read_rules(_text(rules)),
            dry_run=dry_run,
            detector=detector,
        )
        from cluster.batch.driver import drive, show

        summary = asyncio.run(drive(settings(), request, job))
    except AtalaiaError as error:
        show_error(error)
        raise typer.Exit(exit_code(error)) from None
    if as_json:
        out().print(summary.model_dump_json(indent=2), markup=False)
    else:
        show(summary, out())


def _time(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{option} {text!r} is not a time.", hint="Write it like 2026-01-31T08:15:00Z."
        ) from None
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}.") from None


if __name__ == "__main__":
    app()
