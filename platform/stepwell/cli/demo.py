"""`stepwell demo`: the whole story on one machine, with the real server, the real git and a shipped example.

A run of the demo is one `Story`: it pushes, follows, waits at the approval, and says what it saw.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.git_client import GitClient
from stepwell.cli.screen import JsonFlag, console, duration, end_with, say, show_json
from stepwell.errors import Conflict, Invalid, Unavailable

if TYPE_CHECKING:
    from stepwell.cli.client import Client
    from stepwell.cli.compose import Server

EXAMPLE = "python-service"
TENANT = "home"
APPEAR_SECONDS = 30  # a slow import of the pipelines lets the push return before the run exists


def demo(
    once: Annotated[bool, typer.Option("--once", help="Approve over HTTP, end with the run.")] = False,
    state: Annotated[Path | None, typer.Option(help="State directory; by default one of the demo's own.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; the next free one when it is taken.")] = None,
    json: JsonFlag = False,
) -> None:
    """Start a server, push an example with git, follow its run, and wait for your approval in the browser."""
    with _server(state, port) as server, _client(server) as client:
        if server.rooms.wall:
            _banner(server.rooms.wall)
        say(f"Stepwell is up at {server.rooms.settings.base_url}", "bold green")
        if not once:
            say(f"Sign in:  {server.rooms.link()}")
        story = _prepare(server, client)
        view = story.tell(approve=once)
        if json:
            show_json(story.report(view))
        else:
            say(f"Run #{view['number']} {view['state']} after {duration(story.total_seconds)}.", "bold")
        if not once:
            _stay(server)
    end_with(view["state"])


@contextmanager
def _server(state: Path | None, port: int | None) -> Iterator["Server"]:
    """Start on the demo's state directory; a second demo at the same time gets one of the moment."""
    from stepwell.cli.compose import Server, settings_with, state_home

    with ExitStack() as kept:
        chosen = state or state_home() / "stepwell-demo"
        mine = {"port": port, "url": ""}  # whatever address another server of this machine has
        try:
            server = Server.start(settings_with(state=chosen, **mine), may_do_without_wall=True)
        except Conflict:
            if state is not None:
                raise
            say(f"Another demo uses {chosen}; this one takes a directory of the moment.", "yellow")
            moment = kept.enter_context(
                tempfile.TemporaryDirectory(prefix="stepwell-demo-", ignore_cleanup_errors=True)
            )
            server = Server.start(settings_with(state=Path(moment), **mine), may_do_without_wall=True)
        yield kept.enter_context(server)


@contextmanager
def _client(server: "Server") -> Iterator["Client"]:
    from stepwell.cli.client import Client
    from stepwell.cli.logins import Login

    token = server.rooms.token("demo", scopes=("read", "write", "approve", "manage"), days=1)
    with Client(Login(server.rooms.settings.base_url, token)) as client:
        yield client


def _banner(why: str) -> None:
    screen = console(stderr=True)
    screen.rule(style="yellow")
    say("These steps run WITHOUT the wall. It is the demo's own example, so that is fine here and now.", "yellow")
    say(why, "yellow")
    screen.rule(style="yellow")


def _prepare(server: "Server", client: "Client") -> "Story":
    """Make the repository, its protected environment and its secret, once per state directory."""
    path = f"/repos/{TENANT}/{EXAMPLE}"
    if EXAMPLE not in {item["name"] for item in client.get("/repos", tenant=TENANT)["items"]}:
        client.post("/repos", tenant=TENANT, name=EXAMPLE, description="The example that stepwell demo pushes")
    client.put(f"{path}/environments/production", branches=["main"])
    client.put(f"{path}/secrets/DEPLOY_KEY", value="a key that only the deployment sees", environment="production")
    return Story(server, client)


@dataclass
class Story:
    """One push and its run."""

    server: "Server"
    client: "Client"
    push_start: float = 0.0
    push_done: float = 0.0
    first_outputs: dict[str, float] = field(default_factory=dict)  # by run: others may go on beside this one
    end: float = 0.0

    @property
    def total_seconds(self) -> float:
        """From the start of the push to the end of the run."""
        return self.end - self.push_start

    def tell(self, *, approve: bool) -> dict[str, Any]:
        """Push, follow, approve or wait for somebody who does; give the run at its end."""
        from stepwell.cli.follow import Follower
        from stepwell.cli.runs import OverHttp

        stop = self.server.rooms.services.logs.follow(self._grown)
        with tempfile.TemporaryDirectory(prefix="stepwell-demo-") as moment:
            sha = self._push(Path(moment) / EXAMPLE)
        run = self._run_of(sha)
        follower = Follower(OverHttp(self.client, run["id"]), console(stderr=True))
        view = follower.until(lambda seen: bool(seen["approvals"]))
        if view["approvals"]:
            self._answer(view, approve=approve)
            view = follower.until(lambda seen: False)
        self.end = time.monotonic()
        stop()
        return view

    def _grown(self, grown: Any) -> None:
        if grown.key and grown.size:
            self.first_outputs.setdefault(grown.run, time.monotonic())

    def _push(self, folder: Path) -> str:
        url = f"{self.server.rooms.settings.base_url}/{TENANT}/{EXAMPLE}.git"
        say(f"$ git push {url} main", "bold")
        git = GitClient(self.server.rooms.settings.base_url, self.client.login.token)
        git.run(folder.parent, "clone", "--quiet", url, str(folder))
        shutil.copytree(example(EXAMPLE), folder, dirs_exist_ok=True)
        git.run(folder, "add", "--all")
        git.run(folder, "commit", "--quiet", "--allow-empty", "-m", "Shorten links")
        git.run(folder, "branch", "-M", "main")
        self.push_start = time.monotonic()
        git.run(folder, "push", url, "main", shown=True)
        self.push_done = time.monotonic()
        return git.run(folder, "rev-parse", "HEAD").strip()

    def _run_of(self, sha: str) -> dict[str, Any]:
        until = time.monotonic() + APPEAR_SECONDS
        while time.monotonic() < until:
            if found := self.client.get("/runs", tenant=TENANT, repository=EXAMPLE, sha=sha)["items"]:
                return dict(found[0])
            time.sleep(0.1)
        raise Invalid(f"The push of {sha[:8]} started no run. The lines above from `remote:` say why.")

    def _answer(self, view: dict[str, Any], *, approve: bool) -> None:
        waiting = view["approvals"][0]
        if approve:
            self.client.post(
                f"/runs/{view['id']}/decisions", key=waiting["key"], approve=True, comment="stepwell demo --once"
            )
            return
        page = f"{self.server.rooms.settings.base_url}{view['url']}"
        say(f"\nThe run waits for you: {waiting['name']}", "bold yellow")
        say(f"  open     {self.server.rooms.link(page)}")
        say(f"  the run  {page}")
        say(
            "Take your time: it costs a row on disk. Ctrl-C stops the server; the run waits for the next demo.\n", "dim"
        )

    def report(self, view: dict[str, Any]) -> dict[str, Any]:
        """What the story was, for programs."""
        first = self.first_outputs.get(view["id"])
        return {
            "run": view["id"],
            "state": view["state"],
            "steps": [
                {"key": one["key"], "name": one["name"], "state": one["state"], "seconds": one["seconds"]}
                for one in view["steps"]
            ],
            "push_start_to_first_output_ms": None if first is None else round((first - self.push_start) * 1000, 1),
            # Output may come before git has ended: nobody waited for it then.
            "push_done_to_first_output_ms": None
            if first is None
            else round(max(0.0, first - self.push_done) * 1000, 1),
            "total_ms": round(self.total_seconds * 1000, 1),
        }


def _stay(server: "Server") -> None:
    say(f"The server stays up at {server.rooms.settings.base_url} until Ctrl-C.", "dim")
    try:
        while True:
            time.sleep(1)
            server.check()
    except KeyboardInterrupt:
        return


def example(name: str) -> Path:
    """A shipped example: beside this package when installed, at the top of a checkout otherwise."""
    here = Path(__file__).resolve()
    for place in (here.parent / "examples", here.parents[3] / "pipelines_examples"):
        if (place / name / ".stepwell").is_dir():
            return place / name
    raise Unavailable(f"The example {name!r} is not part of this installation. Install Stepwell again.")
