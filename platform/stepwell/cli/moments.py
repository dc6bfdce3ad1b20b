"""`stepwell diff` and `stepwell shell`: the files of a step, on this machine."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from stepwell.cli.runs import Repository, require_step
from stepwell.cli.screen import JsonFlag, plain, say, show_json, tell
from stepwell.cli.unpacking import unpack
from stepwell.cli.where import connected, find_run
from stepwell.errors import Invalid

Run = Annotated[str, typer.Argument(help="12, acme/api#12, the page's address or the id.")]
Step = Annotated[str, typer.Argument(help="Name or key of the step.")]
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "mode": "m"}
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def diff(
    run: Run,
    step: Step,
    repository: Repository = None,
    json: JsonFlag = False,
) -> None:
    """Print what a step changed in its workspace."""
    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        address = f"/runs/{view['id']}/steps/{quote(_key(view, step), safe='')}"
        found = client.get(f"{address}/changes")
    if json:
        show_json(found)
        return
    for one in found["items"]:
        tell(f"{_SIGNS[one['kind']]} {plain(one['path'])}", "bold")
        if one["why"]:
            tell(f"  {one['why']}", "dim")
        for line in one["diff"].split("\n") if one["diff"] else ():
            tell(f"  {plain(line)}", _COLOURS.get(line[:1], ""))
    if not found["items"]:
        say(found["why"] or "It changed nothing.")
    if found["more"]:
        listed = f"These are {len(found['items']):,} of {found['total']:,} changes"
        say(f"{listed}. `stepwell shell` has all files, --before and after.", "yellow")


def shell(
    run: Run,
    step: Step,
    repository: Repository = None,
    *,
    before: Annotated[bool, typer.Option("--before", help="The files it stood on.")] = False,
    after: Annotated[bool, typer.Option("--after", help="The files it left, as without this option.")] = False,
    to: Annotated[Path | None, typer.Option(help="Unpack them into this new directory, and start no shell.")] = None,
    command: Annotated[str | None, typer.Option("--command", "-c", help="Run this instead of a shell.")] = None,
) -> None:
    """Open a shell on this machine in a copy of the files as they were before or after a step."""
    if before and after:
        raise Invalid("--before and --after exclude each other. Give one of them.")
    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        key = _key(view, step)
        path = f"/runs/{view['id']}/steps/{quote(key, safe='')}/workspace"
        when = "before" if before else "after"
        if when == "after" and (why := _why_dropped(view, key)):
            when = "before"
            say(f"{why} These are the files that it stood on.", "yellow")
        if to is not None:
            _unpack(client.stream(path, when=when), to)
            say(f"The files {when} {step!r} of #{view['number']} are in {to}, without .git.", "green")
            return
        with tempfile.TemporaryDirectory(prefix="stepwell-shell-") as home:
            folder = Path(home) / "workspace"
            _unpack(client.stream(path, when=when), folder)
            copy = f"A copy of the files {when} {step!r} of #{view['number']}, without .git"
            say(f"{copy}; it goes when you leave.", "green")
            ended = subprocess.run(_argv(command), cwd=folder, check=False)
    raise typer.Exit(ended.returncode if ended.returncode >= 0 else 128 - ended.returncode)


def _argv(command: str | None) -> list[str]:
    return ["sh", "-c", command] if command is not None else [os.environ.get("SHELL") or "sh"]


def _key(view: dict[str, Any], step: str) -> str:
    require_step(view, step)
    keys = [one["key"] for one in view["steps"] if step in (one["key"], one["name"])]
    if len(keys) > 1 and step not in keys:
        raise Invalid(f"Run #{view['number']} has several steps {step!r}: {', '.join(keys)}. Name one of them.")
    return str(step if step in keys else keys[0])


def _unpack(pieces: Iterator[bytes], target: Path) -> None:
    left = [plain(name) for name in unpack(pieces, target)]
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        say(f"Left out, for they lead elsewhere: {', '.join(left[:5])}{more}.", "yellow")


def _why_dropped(view: dict[str, Any], key: str) -> str:
    """Say why nothing of a step was kept; of one that is not over the server speaks."""
    from stepwell.ci.moments import ENDED, why_dropped

    step = next(one for one in view["steps"] if one["key"] == key)
    return why_dropped(step["state"], step["options"]) if step["state"] in ENDED else ""
