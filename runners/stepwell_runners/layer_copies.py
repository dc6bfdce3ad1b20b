"""Layers as a backup takes them: only the neutral form.

What is stored in `files/` is a cache of that form, made for one tree at one place: it says by devices what is deleted,
and its description names the tree by its path. So devices are left out (`deleted` lists the same paths) and the tree's
name is emptied; what a restored server mounts is made anew of it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from stepwell.repos.captured import FOLDER

META = "meta.json"


def layer_files(layers: Path) -> Iterator[tuple[str, Path | bytes]]:
    """Give (name below `layers`, file to copy or its content) for every whole layer."""
    for meta in sorted(layers.glob(f"*/*/{META}")):
        place = meta.parent
        try:
            told = json.loads(meta.read_text())
        except FileNotFoundError:
            continue  # of a run that has been removed
        yield meta.relative_to(layers).as_posix(), json.dumps({**told, "tree": ""}).encode()
        for folder in (place / "files", place / FOLDER):
            for path in (folder, *sorted(folder.rglob("*"))) if folder.exists() else ():
                yield path.relative_to(layers).as_posix(), path
