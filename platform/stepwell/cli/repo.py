"""`stepwell repo`: create and list repositories."""

from typing import Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, say, show_json, show_table, state_text
from stepwell.cli.where import connected
from stepwell.errors import Invalid

app = typer.Typer(help="Create and list repositories.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="tenant/name, or a name in your first tenant.")],
    description: Annotated[str, typer.Option(help="A line about it.")] = "",
    json: JsonFlag = False,
) -> None:
    """Create a repository on the server."""
    with connected() as (client, place):
        tenant, bare = full_name(client, name).split("/")
        made = client.post("/repos", tenant=tenant, name=bare, description=description)
        address = f"{place.login.url}{made['clone_path']}"
    if json:
        show_json(made)
    else:
        say(f"Created {made['full_name']}.", "green")
        typer.echo(address)


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the repositories that you may see."""
    with connected() as (client, _):
        found = client.get("/repos")["items"]
    if json:
        show_json(found)
        return
    show_table(("REPOSITORY", "LAST RUN", "DESCRIPTION"), (_row(item) for item in found))


def _row(item: dict[str, Any]) -> tuple[Any, ...]:
    last = item.get("last_run")
    state = state_text(last["state"]).append(f" #{last['number']}") if last else ""
    return f"{item['tenant']}/{item['name']}", state, item["description"]


def full_name(client: Any, name: str) -> str:
    """Complete a repository's name with the first tenant that one may write to."""
    if name.count("/") == 1:
        return name
    if "/" in name:
        raise Invalid(f"Repository {name!r} has more than one '/'. Write tenant/repository, like acme/api.")
    for tenant, role in sorted(client.get("/whoami")["roles"].items()):
        if role != "viewer":
            return f"{tenant}/{name}"
    raise Invalid("You may not create repositories in any tenant of this server. Ask one of its owners.")
