"""What a step did in git, kept with its layer: the branches and tags that it moved, and the objects that they need.

    <layer>/git/captured.json        refs and HEAD, before and after
    <layer>/git/objects/pack/        one pack of what the repository did not have

The objects came from a stranger's directory and were verified on the way (see intake). Whoever stands on the layer sees
the refs; the repository itself learns nothing of either until a promotion.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dulwich.refs import Ref, check_ref_format

from stepwell.repos.push import NO_COMMIT

BRANCHES, TAGS = "refs/heads/", "refs/tags/"
FOLDER, RECORD = "git", "captured.json"
LONGEST_REF = 200
_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RefChange:
    """A branch or tag, before and after; None is its absence."""

    before: str | None
    after: str | None


@dataclass(frozen=True)
class Captured:
    """What a step of a run of `commit` did. `head` is "ref: refs/heads/…" or a commit; "" when HEAD did not move.

    `step` is the step's name; "" of one that was kept before names were.
    """

    commit: str
    refs: Mapping[str, RefChange] = field(default_factory=dict)
    head: str = ""
    step: str = ""

    def __bool__(self) -> bool:
        return bool(self.refs or self.head)

    def write(self, folder: Path) -> None:
        """Put it into a layer's part."""
        refs = {ref: [change.before, change.after] for ref, change in sorted(self.refs.items())}
        told = {"commit": self.commit, "refs": refs, "head": self.head, "step": self.step}
        (folder / RECORD).write_text(json.dumps(told, separators=(",", ":")), "utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Captured":
        """Read a layer's part. Raises FileNotFoundError."""
        told = json.loads((folder / RECORD).read_text("utf-8"))
        return cls(
            told["commit"],
            {ref: RefChange(*ids) for ref, ids in told["refs"].items()},
            told["head"],
            told.get("step", ""),
        )

    def described(self) -> str:
        """Say in a line what was kept, for the step's log."""
        told = [f"{short(ref)} {_short_id(change.after)}" for ref, change in sorted(self.refs.items())]
        more = f" and {len(told) - 10} more" if len(told) > 10 else ""
        return ", ".join(told[:10]) + more


@dataclass(frozen=True)
class Made:
    """What several steps came to, one after the other: refs that they set, or removed (None), and where HEAD is."""

    refs: Mapping[str, str | None]
    head: str


def part_of(layers: Path, layer: str) -> Path:
    """Return where the part of a layer is, or would be, below the directory of all layers."""
    folder, _, name = layer.partition("-")
    return layers / folder / name / FOLDER


def parts_of(layers: Path, base: Iterable[str], commit: str) -> list[Path]:
    """Return the parts of these layers, in their order, that were made in a run of this commit.

    What was made on another one is left out: it would take the files of this run's commit back.
    """
    parts = [part for layer in base if ((part := part_of(layers, layer)) / RECORD).exists()]
    return [part for part in parts if Captured.read(part).commit == commit]


def made_by(parts: Iterable[Path]) -> Made:
    """Return what these parts come to, the oldest first."""
    refs: dict[str, str | None] = {}
    head = ""
    for captured in map(Captured.read, parts):
        refs |= {ref: change.after for ref, change in captured.refs.items()}
        head = captured.head or head
    return Made(refs, head)


def alternates(folders: Sequence[Path]) -> str:
    """Return the value of git's variable for further directories of objects."""
    return os.pathsep.join(json.dumps(str(folder), ensure_ascii=False) for folder in folders)


def is_ref(name: str) -> bool:
    """Say whether this is the full name of a branch or tag, as git and people can take it."""
    return (
        len(name) <= LONGEST_REF
        and name.isprintable()
        and name.startswith((BRANCHES, TAGS))
        and check_ref_format(Ref(name.encode("utf-8", "replace")))
    )


def is_id(text: str) -> bool:
    """Say whether this is the full id of an object."""
    return bool(_ID.fullmatch(text)) and text != NO_COMMIT


def short(ref: str) -> str:
    """Return a ref as people say it."""
    return f"tag {ref.removeprefix(TAGS)}" if ref.startswith(TAGS) else f"branch {ref.removeprefix(BRANCHES)}"


def _short_id(id_: str | None) -> str:
    return id_[:10] if id_ else "removed"
