"""`stepwell up`: the server, in one process."""

import os
import resource
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, say, tell

if TYPE_CHECKING:
    from stepwell.cli.compose import Server

MOST_DESCRIPTORS = 65_536


def up(
    port: Annotated[int | None, typer.Option(help="Port to listen on; the next free one when it is taken.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    state: Annotated[Path | None, typer.Option(help="Directory for everything kept.")] = None,
    json: JsonFlag = False,
) -> None:
    """Start the server and print a sign-in link. Settings come from STEPWELL_… in the environment; Ctrl-C stops it."""
    from stepwell.cli.compose import Server, settings_with

    settings = settings_with(port=port, host=host, state=state)
    take_descriptors()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with Server.start(settings) as server:
        link = server.rooms.link()
        sign_in_here(server)
        if json:
            _tell_programs(server, link)
        else:
            announce(server, link)
        while not stopping.wait(1.0):
            server.check()
        if not json:
            say("Stopping. What is under way goes on at the next start.", "dim")


def take_descriptors() -> None:
    """Raise the soft limit of open files: services begin with 1,024, which a few steps with a network could use up."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def announce(server: "Server", link: str) -> None:
    """Say where the server is and what it cannot do."""
    tell(f"Stepwell is up at {server.rooms.settings.base_url}", "bold green")
    tell(f"Sign in:  {link}")
    tell(f"State:    {server.rooms.settings.state}", "dim")
    if server.rooms.settings.host in ("0.0.0.0", "::") and "STEPWELL_URL" not in os.environ:  # noqa: S104 - compared
        say("! Links work on this machine only: set STEPWELL_URL to the address that people use.", "yellow")
    if server.rooms.wall:
        say(f"! {server.rooms.wall}", "yellow")


def _tell_programs(server: "Server", link: str) -> None:
    import json
    import sys

    told: dict[str, Any] = {
        "url": server.rooms.settings.base_url,
        "signin": link,
        "pid": os.getpid(),
        "wall": server.rooms.wall,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def sign_in_here(server: "Server") -> None:
    """Sign the command line of the person who started the server in, so that `stepwell init` asks nothing."""
    from stepwell.cli.logins import Login, Logins

    logins = Logins()
    known = logins.find(server.rooms.settings.base_url)
    if known is not None and server.rooms.accepts(known.token):
        logins.put(known, default=False)
        return
    token = server.rooms.token(
        "command line of the server's own user", scopes=("read", "write", "approve", "manage", "own")
    )
    logins.put(Login(server.rooms.settings.base_url, token, here=True), default=False)
