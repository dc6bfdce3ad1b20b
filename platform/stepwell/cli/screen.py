"""What the commands print: tables and JSON on stdout, everything else on stderr; exit codes."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepwell.errors import StepwellError

EXIT_CODES = {
    "passed": 0,
    "failed": 1,
    "cancelled": 3,
    "diverged": 4,
    "waiting": 5,
    "paused": 5,
    "running": 6,
    "queued": 6,
}
"""A command about one run ends with its state; 2 says that the command itself failed."""
COMMAND_FAILED = 2
SIGNS = {
    "passed": ("✓", "green"), "failed": ("✗", "red"), "cancelled": ("–", "yellow"), "diverged": ("≠", "red"),
    "waiting": ("?", "yellow"), "paused": ("‖", "yellow"), "running": ("●", "blue"), "queued": ("○", "dim"),
    "retrying": ("↻", "yellow"), "skipped": ("–", "dim"),
}  # fmt: skip

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Tell the person something, on stderr."""
    err.print(Text(text, style=style))


def show_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
    sys.stdout.flush()


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows on stdout. Cells are texts, never markup: they come from other people."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    out.print(table)


def state_text(state: str) -> Text:
    """A state with its sign and colour."""
    sign, style = SIGNS.get(state, (" ", ""))
    return Text(f"{sign} {state}", style=style)


def end_with(state: str) -> None:
    """Leave the command with the exit code of a run's state."""
    raise typer.Exit(EXIT_CODES.get(state, COMMAND_FAILED))


def show_error(error: StepwellError) -> None:
    """Print an error as its message, without a traceback."""
    err.print(Text.assemble(("stepwell: ", "bold red"), str(error)))


def duration(seconds: float | None) -> str:
    """Write a duration as people say it."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
