"""What `setup_inputs` names: the regular files of a workspace that a setup may see, wherever it runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stepwell.errors import Invalid
from stepwell_runners.layers import File, below, tidied
from stepwell_runners.reduce import Stack

ONCE = "once per branch for this command, its setup_inputs, and the image or tools, variables and limits of the step"
MOST_BYTES = 64 << 20  # in all: with `image=` they pass through memory


def input_files(paths: Sequence[str], stack: Stack) -> Iterator[tuple[str, Path]]:
    """Yield the path of each file in the workspace, once, and where it is on the host.

    Raises Invalid for what is not there, and for too much.
    """
    room, seen = MOST_BYTES, set[str]()
    for path in paths:
        tidy = tidied(path)
        names = [name for name in below(stack, tidy) if isinstance(stack.node(name), File)]
        if not names:
            raise Invalid(f"setup_inputs names {path!r}, which is not a regular file or a directory of the workspace.")
        for name in names:
            if name in seen:
                continue
            seen.add(name)
            place = stack.place(name)
            assert place is not None
            room -= place.lstat().st_size
            if room < 0:
                raise Invalid(f"setup_inputs names more than {MOST_BYTES >> 20} MiB. Name what the setup reads.")
            yield name, place
