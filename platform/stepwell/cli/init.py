"""`stepwell init`: from a directory to a repository whose pushes run, in one command."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.repo import full_name
from stepwell.cli.screen import JsonFlag, say, show_json
from stepwell.cli.where import connected
from stepwell.errors import Conflict, NotFound

if TYPE_CHECKING:
    from stepwell.cli.worktree import WorkTree

PIPELINE = '''\
"""What every push to this repository starts."""

from stepwell import Pipeline, manual, push


class Checks(Pipeline):
    """Say hello; put your own commands here."""

    on = [push(), manual()]

    async def run(self, event, step):
        await step.run("hello", "echo Hello, stepwell; ls -A")
        # A tool from PyPI is installed once:     await step.run("lint", "ruff check .", tools=["ruff==0.17.6"])
        # A container for what is heavy:          await step.run("test", "make test", image="python:3.13-slim")
        # Ask before what cannot be taken back:   await step.approval("Ship it?", environment="production")
'''


@dataclass(frozen=True)
class Initialised:
    """What `init` has done."""

    repository: str
    url: str
    remote: str
    created: bool
    wrote_pipeline: bool


def init(
    name: Annotated[str | None, typer.Argument(help="tenant/name or name; by default the directory's name.")] = None,
    json: JsonFlag = False,
) -> None:
    """Write a pipeline, create the repository on the server, and let `git push` go there without a password."""
    with connected() as (client, place):
        directory = Path.cwd()
        tree = place.tree or _create(directory)
        wanted = full_name(client, name or place.repository or fit_name(tree.root.name))
        wrote = _write_pipeline(tree.root)
        created = _create_repository(client, wanted)
        url = f"{place.login.url}/{wanted}.git"
        remote = _connect(tree, url, place.login.url)
        if not tree.knows_author():
            me = client.get("/whoami")["name"]
            tree.configure({"user.name": me, "user.email": f"{me}@localhost"})
            say(f"git knew no author here: commits of this repository are by {me} <{me}@localhost>.", "yellow")
    done = Initialised(wanted, url, remote, created, wrote)
    if json:
        show_json(done.__dict__)
    else:
        _tell(done, tree.branch)


def _create(directory: Path) -> "WorkTree":
    from stepwell.cli.worktree import WorkTree

    return WorkTree.create(directory)


def fit_name(name: str) -> str:
    """Make a directory's name fit for an address."""
    fit = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._").removesuffix(".git")
    return fit or "project"


def _write_pipeline(root: Path) -> bool:
    path = root / ".stepwell" / "pipeline.py"
    if path.exists():
        return False
    path.parent.mkdir(exist_ok=True)
    path.write_text(PIPELINE)
    return True


def _create_repository(client: Any, name: str) -> bool:
    try:
        client.get(f"/repos/{name}")
    except NotFound:
        tenant, bare = name.split("/")
        try:
            client.post("/repos", tenant=tenant, name=bare, description="")
        except Conflict:
            return False  # somebody else was faster
        return True
    return False


def _connect(tree: "WorkTree", url: str, server: str) -> str:
    """Set the remote and the credential helper; `origin` is taken when it is free or already ours."""
    remotes = tree.remotes()
    ours = next((name for name, address in remotes.items() if address == url), None)
    remote = ours or ("origin" if "origin" not in remotes else "stepwell")
    tree.add_remote(remote, url)
    # The empty value first drops helpers of the system and the person: they would ask, or keep the token elsewhere.
    helper = f"!{shlex.quote(sys.executable)} -m stepwell.cli.credential"
    settings: dict[str, str | list[str]] = {f"credential.{server}.helper": ["", helper]}
    branch = tree.branch
    if tree.setting(f"branch.{branch}.remote") is None:
        settings |= {f"branch.{branch}.remote": remote, f"branch.{branch}.merge": f"refs/heads/{branch}"}
    tree.configure(settings)
    return remote


def _tell(done: Initialised, branch: str) -> None:
    if done.wrote_pipeline:
        say("Wrote .stepwell/pipeline.py.", "green")
    say(
        f"{'Created' if done.created else 'Found'} {done.repository}; the remote {done.remote!r} is {done.url}.",
        "green",
    )
    push = "git push" if done.remote == "origin" else f"git push {done.remote} {branch}"
    say(f'Next:  git add .  &&  git commit -m "First pipeline"  &&  {push}')
