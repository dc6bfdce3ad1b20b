"""What the commands print: tables and JSON on stdout, everything else on stderr; exit codes.

Rich is loaded by what needs it only: a server runs for months and would carry it for three lines.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.errors import Invalid, StepwellError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

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

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]


@cache
def console(*, stderr: bool = False) -> "Console":
    """What progress and live logs are drawn on."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def plain(text: str, kept: str = "") -> str:
    """Write a stranger's text so that nothing in it moves or reorders what a terminal shows, but for what is `kept`."""
    if text.isprintable():
        return text
    return "".join(char if char in kept or _stays(char) else repr(char)[1:-1] for char in text)


def plain_coloured(line: str) -> str:
    """Write a line of a log likewise, but for its ASCII controls: whoever reads its colours drops the others."""
    return line if line.isascii() else _BEYOND_ASCII.sub(lambda found: plain(found[0]), line)


def _stays(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def tell(text: str, style: str = "") -> None:
    """Print a line of the answer, on stdout. `style` is a colour, "bold", "dim", or two of them."""
    _print(text, style, stderr=False)


def say(text: str, style: str = "") -> None:
    """Tell the person something beside the answer, on stderr."""
    _print(text, style, stderr=True)


def ask_hidden(prompt: str, what: str) -> str:
    """Ask for what nobody may see, or read it from standard input. Raises Invalid, naming `what` was not given."""
    if sys.stdin.isatty():
        value = str(typer.prompt(prompt, hide_input=True, err=True))
    else:
        value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise Invalid(f"No {what} was given. Type it at the prompt, or send it to standard input.")
    return value


def _print(text: str, style: str, *, stderr: bool, mark: str = "") -> None:
    words = set(style.split())
    bold, dim = "bold" in words, "dim" in words
    colour = next(iter(words - {"bold", "dim"}), None)
    uncoloured = "NO_COLOR" in os.environ
    shown = typer.style(mark, fg="red", bold=True) + plain(text, "\n\t") if mark else plain(text, "\n\t")
    typer.secho(shown, err=stderr, fg=colour, bold=bold or None, dim=dim or None, color=False if uncoloured else None)


def show_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
    sys.stdout.flush()


def show_table(columns: Sequence[str], rows: "Iterable[Sequence[str | Text]]") -> None:
    """Print rows on stdout. Cells are texts, never markup: they come from other people."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    console().print(table)


def state_text(state: str) -> "Text":
    """A state with its sign and colour."""
    from rich.text import Text

    sign, style = SIGNS.get(state, (" ", ""))
    return Text(f"{sign} {state}", style=style)


def end_with(state: str) -> None:
    """Leave the command with the exit code of a run's state."""
    raise typer.Exit(EXIT_CODES.get(state, COMMAND_FAILED))


def show_error(error: StepwellError) -> None:
    """Print an error as its message, without a traceback."""
    _print(str(error), "", stderr=True, mark="stepwell: ")


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
