"""Shows how Atalaia starts and runs: a live view in a terminal, or plain log lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cluster.core.log import redact
from cluster.local.stack import Phase, StackEvent
from pipelines.clock import Clock, SystemClock
from pipelines.domain import CameraState

REFRESH_HZ = 4

_MARKS: dict[Phase, tuple[str, str]] = {
    Phase.BUILDING: ("…", "yellow"),
    Phase.STARTING: ("…", "yellow"),
    Phase.READY: ("✓", "green"),
    Phase.LOST: ("!", "yellow"),
    Phase.FAILED: ("✗", "red"),
    Phase.STOPPING: ("…", "dim"),
    Phase.STOPPED: ("·", "dim"),
}

_CAMERA_STYLES = {
    CameraState.LIVE: "green",
    CameraState.CONNECTING: "yellow",
    CameraState.DEGRADED: "yellow",
    CameraState.OFFLINE: "red",
}


@dataclass(frozen=True, slots=True)
class CameraLine:
    """One camera, as the running view shows it."""

    tenant: str
    camera: str
    state: CameraState
    detail: str


class RunView(Protocol):
    """Receives progress and status in chronological order."""

    def event(self, event: StackEvent) -> None:
        """A part of the local stack changed its phase."""
        ...

    def step(self, text: str) -> None:
        """A new step begins, described by `text`."""
        ...

    def ready(self, lines: Iterable[tuple[str, str]]) -> None:
        """Everything runs; `lines` are labels and values to show."""
        ...

    def cameras(self, cameras: Iterable[CameraLine]) -> None:
        """The current states of the cameras."""
        ...

    def stopping(self) -> None: ...

    def close(self) -> None: ...


class LineView:
    """For logs, pipes and CI: one line per event."""

    def __init__(self, console: Console, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._console = console
        self._began = self._clock.monotonic()
        self._states: dict[tuple[str, str], CameraState] = {}

    def _print(self, text: str) -> None:
        self._console.print(
            f"[{self._clock.monotonic() - self._began:6.1f} s] {redact(text)}", markup=False
        )

    def event(self, event: StackEvent) -> None:
        took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
        detail = f": {event.detail}" if event.detail else ""
        self._print(f"{event.part} {event.phase}{took}{detail}")

    def step(self, text: str) -> None:
        self._print(text)

    def ready(self, lines: Iterable[tuple[str, str]]) -> None:
        self._print("ready")
        for label, value in lines:
            self._console.print(f"  {label}: {value}", markup=False)

    def cameras(self, cameras: Iterable[CameraLine]) -> None:
        for line in cameras:
            key = (line.tenant, line.camera)
            if self._states.get(key) is not line.state:
                self._states[key] = line.state
                detail = f" ({line.detail})" if line.detail else ""
                self._print(f"camera {line.tenant}/{line.camera} is {line.state}{detail}")

    def stopping(self) -> None:
        self._print("stopping")

    def close(self) -> None:
        self._print("stopped")


class LiveView:
    """For a terminal: a view that is redrawn in place."""

    def __init__(self, console: Console, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()
        self._step = "Starting"
        self._events: dict[str, StackEvent] = {}
        self._starts: dict[str, float] = {}
        self._facts: list[tuple[str, str]] = []
        self._cameras: list[CameraLine] = []
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=REFRESH_HZ,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def event(self, event: StackEvent) -> None:
        self._events[event.part] = event
        if event.seconds is not None:
            self._starts[event.part] = event.seconds

    def step(self, text: str) -> None:
        self._step = text

    def ready(self, lines: Iterable[tuple[str, str]]) -> None:
        self._step = ""
        self._facts = list(lines)

    def cameras(self, cameras: Iterable[CameraLine]) -> None:
        self._cameras = list(cameras)

    def stopping(self) -> None:
        self._step = "Stopping"
        self._facts = []
        self._cameras = []

    def close(self) -> None:
        self._step = ""
        self._live.stop()

    def _render(self) -> RenderableType:
        blocks: list[RenderableType] = [self._head()]
        if self._facts:
            blocks.append(self._facts_table())
        if self._cameras:
            blocks.append(self._camera_table())
        blocks.append(self._parts_table())
        if self._facts:
            blocks.append(Text("Ctrl-C stops everything.", style="dim"))
        return Group(*blocks)

    def _head(self) -> RenderableType:
        if not self._step:
            return Text("Atalaia runs" if self._facts else "Atalaia", style="bold")
        elapsed = self._clock.monotonic() - self._began
        self._spinner.update(text=Text(f"{self._step}  {elapsed:.0f} s"))
        return self._spinner

    def _facts_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for label, value in self._facts:
            table.add_row(Text(f"  {label}", style="dim"), Text(value, overflow="fold"))
        return table

    def _camera_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for line in self._cameras:
            style = _CAMERA_STYLES[line.state]
            table.add_row(
                Text(f"  ● {line.tenant}/{line.camera}", style=style),
                Text(line.state, style=style),
                Text(redact(line.detail), style="dim"),
            )
        return table

    def _parts_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for part, event in self._events.items():
            mark, style = _MARKS[event.phase]
            seconds = self._starts.get(part)
            table.add_row(
                Text(f"  {mark} {part}", style=style),
                Text(event.phase, style=style),
                Text(f"{seconds:.1f} s" if seconds is not None else "", style="dim"),
                Text(redact(event.detail), style="dim", overflow="ellipsis", no_wrap=True),
            )
        return table


def make_view(console: Console) -> RunView:
    """A live view in a terminal, else log lines."""
    return LiveView(console) if console.is_terminal else LineView(console)
