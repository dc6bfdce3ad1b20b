"""`stepwell quota`: how many runs of a tenant or repository may go on at the same time."""

from typing import Annotated

import typer

from stepwell.cli.screen import JsonFlag, say, show_json, show_table
from stepwell.cli.where import connected
from stepwell.errors import Invalid

Whose = Annotated[str, typer.Argument(help="A tenant, or a repository as tenant/name.")]


def quota(
    whose: Whose,
    *,
    runs: Annotated[str | None, typer.Option(help="Runs that may go on at the same time, or 'none'.")] = None,
    json: JsonFlag = False,
) -> None:
    """Show, set or take away how many runs of a tenant or repository may go on at the same time."""
    tenant, _, repository = whose.partition("/")
    with connected() as (client, _place):
        if runs is not None:
            client.put(f"/tenants/{tenant}/quotas", repository=repository, runs=_number(runs))
        found = client.get(f"/tenants/{tenant}/quotas")["items"]
    if repository:
        found = [item for item in found if item["repository"] == repository]
    if json:
        show_json(found)
    elif found:
        show_table(("OF", "RUNS"), ((_name(tenant, item["repository"]), str(item["runs"])) for item in found))
    else:
        say(f"{whose} has no quota of its own: the server's settings count.")


def _name(tenant: str, repository: str) -> str:
    return f"{tenant}/{repository}" if repository else tenant


def _number(runs: str) -> int | None:
    if runs == "none":
        return None
    if not runs.isdecimal():
        raise Invalid(f"--runs has value {runs!r}. Write a number, or none to take the quota away.")
    return int(runs)
