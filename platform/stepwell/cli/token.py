"""`stepwell token`: create, list and revoke tokens for git and the API."""

import time
from typing import Annotated

import typer

from stepwell.cli.screen import JsonFlag, say, show_json, show_table
from stepwell.cli.where import connected

app = typer.Typer(help="Create, list and revoke tokens for git and the API.", no_args_is_help=True)


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, write, approve or manage; for plans also secret:NAME, secret:REPOSITORY/NAME or "
            "environment:REPOSITORY/NAME. May be repeated. By default read and write."
        ),
    ] = None,
    repository: Annotated[str, typer.Option("--repo", help="Only for this repository, tenant/name.")] = "",
    tenant: Annotated[str, typer.Option(help="Only for this tenant.")] = "",
    days: Annotated[int, typer.Option(min=1, help="Days until it expires.")] = 90,
    json: JsonFlag = False,
) -> None:
    """Create a token and print it, this once."""
    with connected() as (client, _):
        made = client.post(
            "/tokens", name=name, scopes=scope or ["read", "write"], tenant=tenant, repository=repository, days=days
        )
    if json:
        show_json(made)
    else:
        say("It is shown only now:")
        typer.echo(made["secret"])


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List your tokens."""
    with connected() as (client, _):
        found = client.get("/tokens")["items"]
    if json:
        show_json(found)
        return
    rows = (
        (
            item["id"],
            item["name"],
            " ".join(item["scopes"]),
            item["repository"] or item["tenant"] or "all",
            _day(item["expires_at"]),
        )
        for item in found
    )
    show_table(("ID", "NAME", "SCOPES", "FOR", "EXPIRES"), rows)


@app.command("revoke")
def revoke(token: Annotated[str, typer.Argument(help="Its id, as listed.")], json: JsonFlag = False) -> None:
    """Revoke a token at once."""
    with connected() as (client, _):
        client.delete(f"/tokens/{token}")
    if json:
        show_json({"id": token, "revoked": True})
    else:
        say("Revoked.", "green")


def _day(at: float | None) -> str:
    return "never" if at is None else time.strftime("%Y-%m-%d", time.localtime(at))
