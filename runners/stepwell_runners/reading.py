"""step.read: the text of a workspace file, looked up through the layers by the host without following anything out."""

import os
import posixpath
import stat

from stepwell.errors import Invalid, NotFound
from stepwell_runners.layers import Folder, Link, join
from stepwell_runners.reduce import Stack, open_beneath
from stepwell_runners.spec import WORKSPACE

MOST_BYTES = 1 << 20
_MOST_LINKS = 40


def read_text(stack: Stack, path: str) -> str:
    """Return the text at `path`. Raises NotFound; Invalid for links that leave the workspace, big or binary files."""
    found = _resolved(stack, path)
    place = stack.place(found)
    if place is None:
        raise NotFound(f"There is no file {path!r} in the workspace.")
    root = next(lower for lower in stack.lowers if place.is_relative_to(lower))
    descriptor = open_beneath(root, str(place.relative_to(root)))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Invalid(f"{path!r} is not a regular file, so it has no text.")
        if status.st_size > MOST_BYTES:
            raise Invalid(f"{path!r} has {status.st_size} bytes. step.read returns at most {MOST_BYTES}.")
        content = os.read(descriptor, MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{path!r} is not UTF-8 text (byte {error.start}). step.read returns text only.") from error


def _resolved(stack: Stack, path: str) -> str:
    """Return the path that `path` stands for after its links, as a program in the workspace would follow them."""
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    here = ""
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            if not here:
                raise Invalid(f"{path!r} leads out of the workspace.")
            here = posixpath.dirname(here)
            continue
        node = stack.node(join(here, part))
        if node is None:
            raise NotFound(f"There is no file {path!r} in the workspace.")
        if not isinstance(node, Link):
            if waiting and not isinstance(node, Folder):
                raise NotFound(f"There is no file {path!r} in the workspace: {join(here, part)!r} is not a directory.")
            here = join(here, part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise Invalid(f"{path!r} goes through more than {_MOST_LINKS} symbolic links.")
        here, target = _entered(here, node.target, path)
        waiting += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    if not here or isinstance(stack.node(here), Folder):
        raise Invalid(f"{path!r} is a directory. Name a file.")
    return here


def _entered(here: str, target: str, path: str) -> tuple[str, str]:
    """Return where to go on for a link: absolute ones are followed below the workspace only."""
    if not target.startswith("/"):
        return here, target
    if target == WORKSPACE or target.startswith(WORKSPACE + "/"):
        return "", target.removeprefix(WORKSPACE)
    raise Invalid(f"{path!r} is a symbolic link that leads out of the workspace, to {target!r}.")
