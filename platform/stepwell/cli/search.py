"""`stepwell search`: a text in the logs of all runs."""

from typing import Annotated, Any

import typer

from stepwell.cli.runs import Repository
from stepwell.cli.screen import JsonFlag, console, plain, show_json, state_text, tell
from stepwell.cli.where import connected

Text = Annotated[str, typer.Argument(help="What to look for, in any case.")]


def search(
    text: Text,
    *,
    repository: Repository = None,
    everywhere: Annotated[bool, typer.Option("--all", help="In all repositories that you may see.")] = False,
    state: Annotated[str | None, typer.Option(help="Only in runs in this state.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only in runs of this pipeline.")] = None,
    branch: Annotated[str | None, typer.Option(help="Only in runs of this branch.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="So many runs that have it, the newest.")] = 20,
    json: JsonFlag = False,
) -> None:
    """Find a text in the logs of runs, newest first. Ends with 1 when no log has it."""
    with connected() as (client, place):
        wanted = {"state": state, "pipeline": pipeline, "branch": branch}
        if not everywhere:
            wanted["tenant"], wanted["repository"] = place.require_repository(repository).split("/")
        found = _all(client, text, wanted, limit)
        address = place.login.url
    if json:
        show_json(found)
    else:
        for one in found:
            _show(one, address)
    if not found:
        raise typer.Exit(1)


def _all(client: Any, text: str, wanted: dict[str, str | None], limit: int) -> list[dict[str, Any]]:
    """Look through the runs a moment at a time, until there are enough or no more."""
    found: list[dict[str, Any]] = []
    looked, cursor = 0, None
    with console(stderr=True).status("Looking through the newest runs…") as shown:
        while True:
            page = client.get("/logs", q=text, cursor=cursor, **wanted)
            found, looked, cursor = found + page["items"], looked + page["looked"], page["next"]
            if cursor is None or len(found) >= limit:
                return found[:limit]
            shown.update(f"{looked:,} runs looked through, {len(found):,} have it…")


def _show(one: dict[str, Any], address: str) -> None:
    run = one["run"]
    tell(f"{run['tenant']}/{run['repository']}#{run['number']}  {state_text(run['state'])}  {plain(run['message'])}")
    for log in one["logs"]:
        tell(f"  {plain(log['title'])}: {log['count']:,} line{'' if log['count'] == 1 else 's'}", "bold")
        for line in log["lines"]:
            tell(f"  {line['number']:>6}  {plain(line['text'])}")
        tell(f"          {address}{(log['lines'] or [log])[0]['url']}", "dim")
    if one["more"]:
        tell(f"  and in {one['more']} more of its logs", "dim")
