"""The artifacts of a run as its page lists and previews them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urlencode

from stepwell.ci.artifacts import Artifact
from stepwell.ci.views import RunView
from stepwell_web import runview
from stepwell_web.files import picture_type

PREVIEW_BYTES = 64 * 1024
MOST_ROWS = 1_000


@dataclass(frozen=True)
class FileRow:
    """A file in the list; `href` opens its preview, `raw` downloads it."""

    path: str
    size: int
    href: str
    raw: str
    current: bool


@dataclass(frozen=True)
class FileGroup:
    """The files of a step."""

    step: str
    href: str
    zip: str
    rows: Sequence[FileRow]
    bytes: int
    removed_at: float | None  # by retention
    left: int  # files that are not listed


@dataclass(frozen=True)
class Preview:
    """What is shown of a file: text, a picture's address, or a word why neither."""

    path: str
    size: int
    raw: str
    sha256: str
    text: str = ""
    cut: bool = False
    picture: str = ""
    why_not: str = ""


def groups(
    view: RunView, found: Iterable[Artifact], chosen: Artifact | None, removed: Mapping[Artifact, float]
) -> list[FileGroup]:
    """List files by step; those that are removed are only named."""
    names = runview.slugs(view.steps)
    steps = {step.key: step for step in view.steps}
    result = []
    for key, of_step in groupby(found, key=lambda one: one.key):
        files = list(of_step)
        rows = [_row(view, one, names[key], current=one == chosen) for one in files[:MOST_ROWS]]
        zipped = f"/api/v1/runs/{view.summary.id}/artifacts.zip?{urlencode({'step': key})}"
        total = sum(one.size for one in files)
        step, gone = steps[key], next((removed[one] for one in files if one in removed), None)
        left = len(files) - len(rows)
        result.append(FileGroup(step.name, runview.href(view, step), zipped, rows, total, gone, left))
    return result


def _row(view: RunView, one: Artifact, slug: str, *, current: bool) -> FileRow:
    query = urlencode({"step": slug, "path": one.path})
    return FileRow(one.path, one.size, f"{view.summary.url}/artifacts?{query}#preview", raw_of(view, one), current)


def raw_of(view: RunView, one: Artifact, **more: str) -> str:
    """Address of a file itself."""
    return f"/api/v1/runs/{view.summary.id}/artifacts/file?{urlencode({'step': one.key, 'path': one.path, **more})}"


def preview(view: RunView, one: Artifact, head: bytes) -> Preview:
    """Show the beginning of a file, `head`: as text if it is UTF-8, as a picture if it is one."""
    raw = raw_of(view, one)
    if picture_type(head):
        return Preview(one.path, one.size, raw, one.id, picture=raw_of(view, one, picture="1"))
    if not one.size:
        return Preview(one.path, one.size, raw, one.id, why_not="The file is empty.")
    try:
        text = head.decode() if len(head) == one.size else _without_broken_end(head).decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return Preview(one.path, one.size, raw, one.id, why_not="There is no preview of files that are not text.")
    return Preview(one.path, one.size, raw, one.id, text=text, cut=len(head) < one.size)


def _without_broken_end(head: bytes) -> bytes:
    """Leave out a character that was cut in two."""
    for end in range(len(head), max(len(head) - 4, 0), -1):
        if head[end - 1] & 0xC0 != 0x80:
            return head[: end - 1] if head[end - 1] >= 0xC0 else head
    return head
