"""What directories take on disk, as `du` counts it: blocks, a file with several names once,
and nothing that is mounted below.

A process of its own, because the walk through a hundred thousand small files would hold up the interpreter's other
threads; a gentle one, because nobody waits for the answer.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stepwell.errors import Unavailable

PATIENCE_SECONDS = 600


def taken(places: Sequence[Path]) -> list[int]:
    """Return the bytes below each directory; 0 where there is none. Blocks. Raises Unavailable."""
    there = [place for place in dict.fromkeys(places) if place.is_dir()]
    if not there:
        return [0] * len(places)
    command = ["nice", "-n", "19", "du", "-skx", "--", *map(str, there)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, env=environment, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`du` cannot count what is on disk: {error}. Install coreutils, or try again.") from error
    sizes: dict[str, int] = {}
    for line in done.stdout.splitlines():  # what vanished meanwhile has no line, and `du` ends with 1
        size, _, name = line.partition("\t")
        sizes[name] = int(size) * 1024
    return [sizes.get(str(place), 0) for place in places]


def taken_by_files(place: Path) -> int:
    """Return the bytes in a directory's own files; 0 where there is none. Costs one look at each."""
    total = 0
    try:
        with os.scandir(place) as files:
            for file in files:
                try:
                    total += file.stat(follow_symlinks=False).st_size if file.is_file(follow_symlinks=False) else 0
                except FileNotFoundError:
                    continue  # it is being removed
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return total
