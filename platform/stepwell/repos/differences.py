"""Unified diffs of many texts at once.

A stranger chose them, and how long a diff takes is up to the texts: difflib needs seconds for two of 4,000 lines, and
holds the interpreter meanwhile. So a git of its own makes them all, bounded in memory, time and what it may say.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepwell.repos.process import environment, read_bounded

MOST_BYTES = 4 << 20
_MEMORY_BYTES = 512 << 20
_COMMAND = (
    "git", "diff", "--no-index", "--histogram", "--text", "--no-ext-diff", "--no-textconv", "--no-color",
    "--no-renames", "--unified=3", "old", "new",
)  # fmt: skip


def unified(
    pairs: Sequence[tuple[bytes, bytes]], *, timeout_s: float, most_bytes: int = MOST_BYTES
) -> list[str | None]:
    """Return the diff of each pair, "" of equal ones; None of those that time or room did not suffice for.

    Blocks. Undecodable bytes are replaced.
    """
    told = {number: pair for number, pair in enumerate(pairs) if pair[0] != pair[1]}
    found = _sections(*_asked(told, timeout_s, most_bytes)) if told else {}
    return [found.get(number) if number in told else "" for number in range(len(pairs))]


def _asked(pairs: Mapping[int, tuple[bytes, bytes]], timeout_s: float, most_bytes: int) -> tuple[bytes, bool]:
    """Let git compare; return what it says, and whether that was all."""
    with tempfile.TemporaryDirectory(prefix="stepwell-diff-") as home:
        for side, folder in enumerate(("old", "new")):
            (Path(home) / folder).mkdir()
            for number, pair in pairs.items():
                (Path(home) / folder / f"{number:08}").write_bytes(pair[side])
        # No repository around this place has a say, and neither has the host in what is text.
        own = {"GIT_DIR": str(Path(home) / "none"), "GIT_ATTR_NOSYSTEM": "1"}
        return read_bounded(
            _COMMAND, most_bytes, environment(extra=own), timeout_s=timeout_s, home=home, memory_bytes=_MEMORY_BYTES,
            accept=(0, 1),
        )  # fmt: skip


def _sections(data: bytes, whole: bool) -> dict[int, str]:
    """Cut what git says by file, without the heads; the last one is not complete unless all is there."""
    found: dict[int, list[str]] = {}
    lines: list[str] | None = None
    for line in data.decode("utf-8", "replace").split("\n"):
        if line.startswith("diff --git "):
            found[int(line[-8:])] = lines = []
            is_head = True
        elif lines is not None:
            is_head = is_head and not line.startswith("@@ ")
            if not is_head:
                lines.append(line)
    if not whole and found:
        found.popitem()
    return {number: "\n".join(lines).removesuffix("\n") for number, lines in found.items()}
