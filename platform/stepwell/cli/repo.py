"""`stepwell repo`: create, list, set and delete repositories."""

import sys
from typing import Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, say, show_json, show_table, state_text
from stepwell.cli.where import connected
from stepwell.errors import Invalid

app = typer.Typer(help="Create, list, set and delete repositories.", no_args_is_help=True)


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


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="tenant/name, or a name in your first tenant.")],
    keep_artifacts_days: Annotated[
        int | None,
        typer.Option(
            help="Days after their run's end, at most as long as the server keeps them; 0: just as long.", min=0
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(help="A line about it.")] = None,
    json: JsonFlag = False,
) -> None:
    """Change a repository's settings: what is given."""
    given = {"keep_artifacts_days": keep_artifacts_days, "description": description}
    changed = {key: value for key, value in given.items() if value is not None}
    if not changed:
        raise Invalid("Nothing is to be changed. Give --keep-artifacts-days or --description.")
    with connected() as (client, _):
        made = client.patch(f"/repos/{full_name(client, name)}", **changed)
    if json:
        show_json(made)
        return
    days = made["keep_artifacts_days"]
    kept = f"for {days} days after their run's end" if days else "as long as the server keeps them"
    say(f"Changed {made['full_name']}. Its artifacts are kept {kept}.", "green")


@app.command("delete")
def delete(
    name: Annotated[str, typer.Argument(help="tenant/name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for its name again.")] = False,
    json: JsonFlag = False,
) -> None:
    """Delete a repository with its runs, secrets and all else, for good."""
    if name.count("/") != 1:
        raise Invalid(f"Repository {name!r} is not named in full. Write tenant/repository, like acme/api.")
    with connected() as (client, _):
        client.get(f"/repos/{name}")
        if not yes and _typed(f"Type {name} to delete it for good") != name:
            raise Invalid(f"{name} stays: its name was not typed. Give --yes where nobody can be asked.")
        client.delete(f"/repos/{name}")
    if json:
        show_json({"deleted": name})
    else:
        say(f"Deleted {name}.", "green")


def _typed(prompt: str) -> str:
    return str(typer.prompt(prompt, default="", show_default=False, err=True)) if sys.stdin.isatty() else ""


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
