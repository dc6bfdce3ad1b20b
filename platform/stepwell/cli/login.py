"""`stepwell login`: remember a server and a token. `stepwell signin`: a new link for the browser."""

import sys
from typing import Annotated

import typer

from stepwell.cli.screen import JsonFlag, say, show_json
from stepwell.errors import Invalid


def login(
    url: Annotated[str, typer.Argument(help="Address of the server, like http://ci.example.com:7700.")],
    json: JsonFlag = False,
) -> None:
    """Remember a server. The token is asked for, or read from standard input."""
    from stepwell.cli.client import Client
    from stepwell.cli.logins import Login, Logins, origin_of

    origin = origin_of(url)
    if sys.stdin.isatty():
        say(f"Make a token on {origin}/tokens and paste it here.")
        token = typer.prompt("Token", hide_input=True, err=True)
    else:
        token = sys.stdin.readline()
    if not token.strip():
        raise Invalid("No token was given. Paste it at the prompt, or send it to standard input.")
    found = Login(origin, token.strip())
    with Client(found) as client:
        me = client.get("/whoami")
    Logins().put(found, default=True)
    if json:
        show_json({"url": origin, "name": me["name"]})
    else:
        say(f"Signed in to {origin} as {me['name']}.", "green")


def signin(
    person: Annotated[str, typer.Argument(help="Who the link is for.")] = "admin",
    json: JsonFlag = False,
) -> None:
    """Print a new sign-in link. Works on the server's machine, for who may read its state directory."""
    from stepwell.cli.compose import link_for
    from stepwell.cli.lock import running_url
    from stepwell.settings import Settings

    settings = Settings()
    link = link_for(settings, person, running_url(settings.state) or settings.base_url)
    if json:
        show_json({"url": link, "person": person})
    else:
        typer.echo(link)
