"""`stepwell registry`: credentials of private registries. Passwords come from a prompt or standard input."""

from typing import Annotated
from urllib.parse import quote

import typer

from stepwell.cli.screen import JsonFlag, ask_hidden, say, show_json, show_table
from stepwell.cli.where import Place, connected

app = typer.Typer(help="Set, list and delete credentials for pulling images.", no_args_is_help=True)

Host = Annotated[str, typer.Argument(help="Host of the registry, like registry.example.org:5000 or docker.io.")]
Tenant = Annotated[str, typer.Option("--tenant", help="By default that of this directory's repository.")]


@app.command("set")
def set_(
    host: Host,
    username: Annotated[str, typer.Option("--username", help="Name of the user, or of the token.")],
    tenant: Tenant = "",
    json: JsonFlag = False,
) -> None:
    """Set the credentials for a registry. The password is asked for, or read from standard input."""
    password = ask_hidden(f"Password for {host}", f"password for {host}")
    with connected() as (client, place):
        client.put(f"{_where(place, tenant)}/{quote(host, safe='')}", username=username, password=password)
    if json:
        show_json({"host": host, "username": username})
    else:
        say(
            f"Set. Steps of the tenant pull from {host} as {username}; nobody can read the password from now on.",
            "green",
        )


@app.command("list")
def list_(tenant: Tenant = "", json: JsonFlag = False) -> None:
    """List registries with the names of their users."""
    with connected() as (client, place):
        found = client.get(_where(place, tenant))["items"]
    if json:
        show_json(found)
    else:
        rows = ((item["host"], item["username"], item["created_by"]) for item in found)
        show_table(("REGISTRY", "USER", "SET BY"), rows)


@app.command("delete")
def delete(host: Host, tenant: Tenant = "", json: JsonFlag = False) -> None:
    """Delete the credentials for a registry."""
    with connected() as (client, place):
        client.delete(f"{_where(place, tenant)}/{quote(host, safe='')}")
    if json:
        show_json({"host": host, "deleted": True})
    else:
        say(f"Deleted the credentials for {host}.", "green")


def _where(place: Place, tenant: str) -> str:
    return f"/tenants/{tenant or place.require_repository(None).partition('/')[0]}/registries"
