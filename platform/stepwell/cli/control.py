"""`stepwell pause`, `resume`, `cancel`, `terminate` and `restart`: what people do to a run that exists."""

from typing import Annotated, Any, Literal

import typer

from stepwell.cli.runs import Repository, Run
from stepwell.cli.screen import JsonFlag, say, show_json
from stepwell.cli.where import FINISHED, connected, find_run, flat
from stepwell.errors import Conflict, Invalid

Reason = Annotated[str, typer.Option(help="Why; everybody sees it.")]


def pause(run: Run = None, repository: Repository = None, reason: Reason = "", json: JsonFlag = False) -> None:
    """Let nothing more begin in a run until it is resumed; what is under way may finish."""
    _do("pause", run, repository, json, "{run} is paused.", reason=reason)


def resume(run: Run = None, repository: Repository = None, json: JsonFlag = False) -> None:
    """Have a paused run go on."""
    _do("resume", run, repository, json, "{run} goes on.")


def cancel(
    run: Run = None,
    repository: Repository = None,
    reason: Reason = "",
    undo: Annotated[bool, typer.Option("--undo", help="Undo what has passed, where steps say how.")] = False,
    json: JsonFlag = False,
) -> None:
    """Cancel a run; its code may clean up."""
    _do("cancel", run, repository, json, "Asked {run} to stop.", reason=reason, undo=undo)


def terminate(run: Run = None, repository: Repository = None, reason: Reason = "", json: JsonFlag = False) -> None:
    """End a run at once; its code is told nothing and cleans nothing up."""
    _do("terminate", run, repository, json, "{run} is ended.", reason=reason)


def restart(
    run: Run = None,
    repository: Repository = None,
    step: Annotated[
        str | None, typer.Option("--from", help="A step, by name or key: what came before it is not run again.")
    ] = None,
    code: Annotated[
        Literal["same", "newer"], typer.Option(help="With --from: the run's own code, or the newest of its branch.")
    ] = "same",
    json: JsonFlag = False,
) -> None:
    """Begin a new run like one that has ended, from the start or from one of its steps."""
    if code == "newer" and step is None:
        raise Invalid("--code newer was given without a step. Name one with --from, or start the pipeline anew.")
    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        made = client.post(f"/runs/{view['id']}/restart", from_step=step, code=code)
    if json:
        show_json(made)
    else:
        say(f"{_named(made)} begins: {place.login.url}{made['url']}", "green")


def _do(what: str, run: str | None, repository: str | None, json: bool, told: str, **body: Any) -> None:
    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        if view["state"] in FINISHED:
            raise Conflict(f"Run #{view['number']} is {view['state']} already. There is nothing to {what}.")
        client.post(f"/runs/{view['id']}/{what}", **body)
        view = flat(client.get(f"/runs/{view['id']}"))
    if json:
        show_json({name: value for name, value in view.items() if name not in ("steps", "steps_next", "approvals")})
    else:
        say(told.format(run=_named(view)), "green")


def _named(view: dict[str, Any]) -> str:
    return f"{view['tenant']}/{view['repository']}#{view['number']}"
