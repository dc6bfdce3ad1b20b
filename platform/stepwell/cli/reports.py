"""`stepwell tests`: what the tests of a run came to."""

from typing import Annotated, Any

import typer

from stepwell.cli.runs import Repository, Run, require_step
from stepwell.cli.screen import JsonFlag, plain, show_json, tell
from stepwell.cli.where import connected, find_run

_BAD = ("failed", "error")


def tests(
    run: Run = None,
    repository: Repository = None,
    step: Annotated[str | None, typer.Option(help="Only those of this step.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that passed or were skipped.")] = False,
    json: JsonFlag = False,
) -> None:
    """Print the tests of a run that failed, and how many there were. Ends with 1 when one failed."""
    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        require_step(view, step)
        found = client.get(f"/runs/{view['id']}/tests")
    steps = [one for one in found["steps"] if step in (None, one["step"], one["key"])]
    if json:
        show_json({**found, "steps": steps})
    else:
        for one in steps:
            _print(one, everything)
        if not steps:
            tell(none_why(view, step))
    if any(one["counts"][state] for one in steps for state in _BAD):
        raise typer.Exit(1)


def none_why(view: dict[str, Any], step: str | None) -> str:
    """Say why there are no tests."""
    asked = [one for one in view["steps"] if step in (None, one["name"], one["key"])]
    named = [one for one in asked if one["options"].get("junit")]
    if not named:
        return "No step of it named a report with junit=." if step is None else "It named no report with junit=."
    states = ", ".join(f"{one['name']} is {one['state']}" for one in named[:5]) + (", …" if len(named) > 5 else "")
    return f"No report that junit= names has been kept: {states}."


def _print(one: dict[str, Any], everything: bool) -> None:
    counts = one["counts"]
    numbers = ", ".join(f"{counts[state]} {state}" for state in (*_BAD, "skipped", "passed") if counts[state])
    tell(f"{one['step']}: {numbers or 'no tests'}", "bold")
    for path, why in one["problems"]:
        tell(f"  {plain(path)}: {plain(why)}", "yellow")
    for case in one["cases"]:
        if everything or case["state"] in _BAD:
            name = "::".join(part for part in (case["group"], case["name"]) if part)
            tell(f"  {case['state']:7} {plain(name)}", "red" if case["state"] in _BAD else "")
            for line in case["message"].splitlines()[:5]:
                tell(f"            {plain(line)}", "dim")
