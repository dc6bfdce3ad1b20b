"""What is known of each snapshot beside its image: for whom, how large, how often and when it was last used; and which
of them go. Images that steps built are kept in the same way.

A file of JSON each below snapshots/ of the state directory. One that is missing or cannot be read costs only that the
snapshot counts as just made; one without an image is removed.
"""

import json
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Note:
    """About one snapshot. `size` are the bytes on top of its image; `hits` how often it saved a `setup=`."""

    key: str
    scope: str
    setup: str
    size: int
    made: float  # wall time
    used: float
    hits: int = 0


@dataclass(frozen=True)
class Keep:
    """What an operator lets snapshots take: together, and for how long without use."""

    size: int = 20 << 30  # bytes
    seconds: float = 14 * 86_400.0


def superfluous(notes: Iterable[Note], keep: Keep, now: float) -> list[Note]:
    """Return those to remove: unused for too long, and of the others the ones not used for longest. Pure."""
    room, gone = keep.size, []
    for note in sorted(notes, key=lambda one: one.used, reverse=True):
        room -= note.size
        if room < 0 or now - note.used > keep.seconds:
            gone.append(note)
    return gone


class SnapshotNotes:
    """The notes below a state directory. Blocks; called from threads."""

    def __init__(self, state: Path, name: str = "snapshots") -> None:
        self._folder = state / name

    def all(self) -> list[Note]:
        """Return all notes, the one used last first."""
        found = [note for path in self._folder.glob("*.json") if (note := self._read(path)) is not None]
        return sorted(found, key=lambda one: one.used, reverse=True)

    def made(self, key: str, scope: str, setup: str, size: int) -> None:
        """Note a new one."""
        now = time.time()
        self._write(Note(key, scope, setup[:200], size, now, now))

    def used(self, key: str) -> bool:
        """Count a use; False when there is no note to count it in."""
        known = self._read(self._folder / f"{key}.json")
        if known is not None:
            self._write(replace(known, used=time.time(), hits=known.hits + 1))
        return known is not None

    def let_go(self, scopes: Collection[str]) -> bool:
        """Have what was made for somebody who is gone be the next to go; whether there is any."""
        doomed = [note for note in self.all() if note.scope in scopes]
        for note in doomed:
            self._write(replace(note, used=0.0))
        return bool(doomed)

    def _read(self, path: Path) -> Note | None:
        try:
            return Note(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be read (%s)", path, error)
            return None

    def forget(self, key: str) -> None:
        """Remove a note."""
        (self._folder / f"{key}.json").unlink(missing_ok=True)

    def _write(self, note: Note) -> None:
        self._folder.mkdir(exist_ok=True)
        fresh = self._folder / f".{note.key}"
        fresh.write_text(json.dumps(asdict(note)))
        fresh.rename(self._folder / f"{note.key}.json")


@dataclass(frozen=True)
class Saved:
    """An image of ours in the engine, with its keys: the tags of the name that was asked for."""

    id: str
    keys: tuple[str, ...]


def images(engine: Any, name: str, labels: Mapping[str, str]) -> list[Saved]:
    """Return a server's images of a name; blocks.

    By one request: `engine.images.list` looks at each afterwards, and raises when one has been removed meanwhile.
    """
    ours = [f"{label}={value}" for label, value in labels.items()]
    found = engine.api.images(name, filters={"label": ours})
    return [Saved(str(one["Id"]), _keys(one.get("RepoTags") or (), name)) for one in found]


def _keys(tags: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(tag.removeprefix(f"{name}:") for tag in tags if tag.startswith(f"{name}:"))


def collect(
    engine: Any, name: str, labels: Mapping[str, str], *, notes: SnapshotNotes, keep: Keep, except_for: str = ""
) -> None:
    """Remove what was not used for long, or is too much; blocks. What a container still uses stays for now."""
    import docker.errors

    there = {key for image in images(engine, name, labels) for key in image.keys}
    known = notes.all()
    for note in known:
        if note.key not in there:
            notes.forget(note.key)
    kept = [note for note in known if note.key in there]
    for note in superfluous(kept, keep, time.time()):
        if note.key == except_for:
            continue
        try:
            engine.images.remove(f"{name}:{note.key}")
        except docker.errors.ImageNotFound:
            pass  # somebody else was faster
        except docker.errors.APIError as error:
            log.info("Image %s:%s is still in use: %s", name, note.key, error)
            continue
        notes.forget(note.key)
