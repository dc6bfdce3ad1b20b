"""`stepwell artifacts`: the files that a run's steps kept, listed and downloaded.

Their names are a stranger's: none may lead out of the directory that they are saved in.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.authoring.globs import glob_pattern
from stepwell.cli.runs import Repository, Run, require_step
from stepwell.cli.screen import JsonFlag, say, show_json, show_table
from stepwell.cli.where import connected, find_run
from stepwell.errors import Invalid, NotFound

if TYPE_CHECKING:
    from stepwell.cli.client import Client


def artifacts(
    run: Run = None,
    *,
    repository: Repository = None,
    step: Annotated[str | None, typer.Option(help="Only those of this step.")] = None,
    only: Annotated[str | None, typer.Option(help='Only paths that match, like "dist/*.whl".')] = None,
    to: Annotated[Path | None, typer.Option(help="Download them into this directory.")] = None,
    json: JsonFlag = False,
) -> None:
    """List the files that a run's steps kept, or download them."""
    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        require_step(view, step)
        items = client.get(f"/runs/{view['id']}/artifacts")["items"]
        found = [one for one in items if step in (None, one["step"], one["key"]) and _matches(one["path"], only)]
        if to is not None:
            if not found:
                raise NotFound(f"Run #{view['number']} has no such artifacts.")
            for one, target in targets(found, to).items():
                save(client, view["id"], found[one], target)
                say(f"{plain(str(target))}")
    if json:
        show_json(found)
    elif to is None:
        show_table(("STEP", "PATH", "BYTES"), ((one["step"], plain(one["path"]), str(one["size"])) for one in found))


def _matches(path: str, only: str | None) -> bool:
    return only is None or glob_pattern(only).fullmatch(path)


def targets(found: list[dict[str, Any]], to: Path) -> dict[int, Path]:
    """Say where each is saved, by its place in the list: by step where several kept some. Raises Invalid."""
    several = len({one["key"] for one in found}) > 1
    where = {}
    for number, one in enumerate(found):
        parts = one["path"].split("/")
        if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
            raise Invalid(f"Artifact {one['path']!r} has a name that could lead elsewhere. Leave it out with --only.")
        where[number] = to.joinpath(*([one["key"].replace("/", "_")] if several else []), *parts)
    return where


def save(client: "Client", run: str, artifact: dict[str, Any], target: Path) -> None:
    """Download one to its place; a file is there whole, or not at all. Raises Invalid when it was damaged."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".stepwell-", delete=False) as file:
        fresh = Path(file.name)
        try:
            pieces = client.stream(f"/runs/{run}/artifacts/file", step=artifact["key"], path=artifact["path"])
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
            if digest.hexdigest() != artifact["id"]:
                raise Invalid(f"Artifact {artifact['path']!r} was damaged on its way. Try again.")
            fresh.chmod(0o644)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)


def plain(text: str) -> str:
    """Write a stranger's text so that it moves nothing on a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
