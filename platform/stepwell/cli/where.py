"""Which server and which repository a command is about: said in full, or found from the working tree's remotes."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.cli.logins import Login, Logins, origin_of
from stepwell.errors import Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from stepwell.cli.client import Client
    from stepwell.cli.worktree import WorkTree

FINISHED = frozenset({"passed", "failed", "cancelled", "diverged"})
_RUN = re.compile(r"(?:(?P<repository>[^#\s]+/[^#\s]+)?#)?(?P<number>\d+)")
_ADDRESS = re.compile(r"https?://[^/]+/(?P<repository>[^/]+/[^/]+)/runs/(?P<number>\d+)")


def flat(answer: dict[str, Any]) -> dict[str, Any]:
    """Put the fields of a run's summary beside its steps: commands need both."""
    return {**answer["summary"], **{name: value for name, value in answer.items() if name != "summary"}}


Pages = dict[tuple[int, int], dict[str, Any]]
"""Pages of a run's steps by its round and the steps before them."""


def whole(client: "Client", answer: dict[str, Any], over: Pages | None = None) -> dict[str, Any]:
    """A run as commands need it, with all its steps: those after the first are told in pages.

    Full pages of steps that are all over stay as they are: they are kept in `over`, and not asked for again.
    """
    view, over = flat(answer), {} if over is None else over
    after = view.pop("steps_next", None)
    while after is not None:
        place = (view.get("round", 1), after)
        page = over.get(place) or client.get(f"/runs/{view['id']}/steps", after=after)
        if page["next"] is not None and all(step.get("ended_at") for step in page["items"]):
            over[place] = page
        view["steps"] += page["items"]
        after = page["next"]
    return view


@dataclass(frozen=True)
class Place:
    """A server, and the repository (`acme/api`) that the working tree belongs to, if there is one."""

    login: Login
    repository: str | None = None
    tree: "WorkTree | None" = None

    def require_repository(self, said: str | None) -> str:
        """The repository that was said, or the working tree's. Raises Invalid when there is neither."""
        if said is not None:
            if said.count("/") != 1:
                raise Invalid(f"Repository {said!r} is not complete. Write tenant/repository, like acme/api.")
            return said
        if self.repository is None:
            raise Invalid("This directory belongs to no repository of Stepwell. Say which one: --repo acme/api.")
        return self.repository


def find_place(directory: Path | None = None, logins: Logins | None = None) -> Place:
    """Find the server: STEPWELL_URL with STEPWELL_TOKEN, else a remote's, else the default login."""
    known = _logins(logins or Logins())
    tree = _tree_around(directory or Path.cwd())
    for url in tree.remotes().values() if tree else ():
        if not url.startswith(("http://", "https://")):
            continue
        for login in known:
            if origin_of(url) == login.url:
                path = url.split("://", 1)[1].partition("/")[2].strip("/").removesuffix(".git")
                return Place(login, path, tree)
    if not known:
        raise Unavailable(
            "No Stepwell server is known here. Start one with `stepwell up`, or sign in with `stepwell login URL`."
        )
    return Place(known[0], None, tree)


def _tree_around(directory: Path) -> "WorkTree | None":
    """Open the working tree of a directory. Where there is none, what opens it is not loaded: that takes as long as all
    else that a command loads.
    """
    above = (directory, *directory.absolute().parents)
    there = (os.path.lexists(folder / ".git") for folder in above)  # a folder above that may not be read is no reason
    if "GIT_DIR" not in os.environ and not any(there):
        return None
    from stepwell.cli.worktree import WorkTree

    try:
        return WorkTree(directory)
    except (NotFound, Invalid):
        return None


def _logins(logins: Logins) -> list[Login]:
    url, token = os.environ.get("STEPWELL_URL"), os.environ.get("STEPWELL_TOKEN")
    if token and not url:
        raise Invalid("STEPWELL_TOKEN is set without STEPWELL_URL. Set both, or neither.")
    return [Login(origin_of(url), token)] if url and token else logins.all()


@contextmanager
def connected() -> Iterator["tuple[Client, Place]"]:
    """Open the client of the server that this directory is about."""
    from stepwell.cli.client import Client

    place = find_place()
    with Client(place.login) as client:
        yield client, place


def find_run(client: "Client", place: Place, said: str | None, repository: str | None = None) -> dict[str, Any]:
    """Find a run by `12`, `acme/api#12`, its page's address or its id; by default the newest of the repository."""
    if said is None:
        tenant, name = place.require_repository(repository).split("/")
        found = client.get("/runs", tenant=tenant, repository=name, limit=1)["items"]
        if not found:
            raise NotFound(f"{tenant}/{name} has no runs yet. Push a commit with a `.stepwell/pipeline.py`.")
        said = str(found[0]["id"])
    elif match := _ADDRESS.match(said) or _RUN.fullmatch(said):
        where = place.require_repository(match["repository"] or repository)
        return whole(client, client.get(f"/repos/{where}/runs/{match['number']}"))
    return whole(client, client.get(f"/runs/{said}"))
