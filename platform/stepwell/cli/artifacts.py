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
from stepwell.cli.screen import JsonFlag, plain, say, show_json, show_table
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
            _download(client, view["id"], found, to)
    if json:
        show_json(found)
    elif to is None:
        show_table(("STEP", "PATH", "BYTES"), ((one["step"], plain(one["path"]), str(one["size"])) for one in found))


def _matches(path: str, only: str | None) -> bool:
    return only is None or glob_pattern(only).fullmatch(path)


def _download(client: "Client", run: str, found: list[dict[str, Any]], to: Path) -> None:
    """Save what can be saved. Raises Invalid at the end, naming the others."""
    where, left = targets(found, to)
    for number, target in where.items():
        try:
            save(client, run, found[number], target)
        except (OSError, Invalid, NotFound) as error:
            left.append((found[number]["path"], getattr(error, "strerror", None) or str(error)))
        else:
            say(plain(str(target)))
    if left:
        named = "\n".join(f"  {plain(path)}: {plain(why)}" for path, why in left)
        raise Invalid(f"{len(left):,} of {len(found):,} artifacts were not saved:\n{named}")


def targets(found: list[dict[str, Any]], to: Path) -> tuple[dict[int, Path], list[tuple[str, str]]]:
    """Say where each is saved, by its place in the list, by step where several kept some; and which are not, and why.

    A backslash, which bytes that are no UTF-8 are written with too, could lead elsewhere on some systems: it becomes
    "_", as in the ZIP file.
    """
    several = len({one["key"] for one in found}) > 1
    where: dict[int, Path] = {}
    left = []
    for number, one in enumerate(found):
        parts = one["path"].split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            left.append((one["path"], "Its name could lead elsewhere."))
            continue
        folder = [one["key"].replace("/", "_")] if several else []
        where[number] = to.joinpath(*folder, *(part.replace("\\", "_") for part in parts))
    taken = {target: number for number, target in reversed(where.items())}
    for target, number in [(target, number) for number, target in where.items() if taken[target] != number]:
        left.append((found[number]["path"], f"Another is saved as {target.name!r}."))
        del where[number]
    return where, left


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
