"""`stepwell cache`: what steps saved with `cache=` for later runs."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from stepwell.cli.screen import JsonFlag, plain, say, show_json, show_table
from stepwell.cli.where import connected

app = typer.Typer(help="List and remove what steps saved with cache=.", no_args_is_help=True)

Repository = Annotated[str | None, typer.Option("--repo", help="tenant/name; by default this directory's.")]


@app.command("list")
def list_(repository: Repository = None, json: JsonFlag = False) -> None:
    """List caches, the most recently used first."""
    with connected() as (client, place):
        found = client.get(f"/repos/{place.require_repository(repository)}/caches")["items"]
    if json:
        show_json(found)
        return
    rows = (
        (plain(one["key"]), one["branch"], str(one["files"]), str(one["bytes"]), _when(one["used_at"])) for one in found
    )
    show_table(("KEY", "BRANCH", "FILES", "BYTES", "LAST USED"), rows)


@app.command("remove")
def remove(
    prefix: Annotated[str, typer.Argument(help="Beginning of the keys to remove; left out: all.")] = "",
    repository: Repository = None,
    branch: Annotated[str, typer.Option(help="Only caches of this branch.")] = "",
    json: JsonFlag = False,
) -> None:
    """Remove caches; the next runs make them anew."""
    with connected() as (client, place):
        where = place.require_repository(repository)
        answer = client.delete(f"/repos/{where}/caches", prefix=prefix, branch=branch)
    if json:
        show_json(answer)
    else:
        say(removed(answer["removed"]), "green")


def removed(count: int) -> str:
    """Say how many caches are gone."""
    return f"Removed {count:,} cache{'' if count == 1 else 's'}."


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
