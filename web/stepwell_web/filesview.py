"""What a step changed in its workspace, as its page shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from stepwell.ci.moments import ENDED, FileChange, why_dropped
from stepwell.ci.views import RunView, StepView
from stepwell_web import times

OPEN_LINES = 80
_WORDS = {"added": "added", "changed": "changed", "removed": "removed", "mode": "another mode"}
_CLASSES = {"+": "of-more", "-": "of-less", "@": "of-place"}


@dataclass(frozen=True)
class ChangedFile:
    """A file; `lines` are (class, text) of its difference."""

    path: str
    kind: str
    word: str
    sizes: str
    lines: Sequence[tuple[str, str]]
    why: str
    open: bool


def changed(one: FileChange) -> ChangedFile:
    """Show a change."""
    lines = [(_CLASSES.get(line[:1], ""), line.replace("\r", "␍")) for line in one.diff.split("\n") if line]
    sizes = " → ".join(times.size(size) for size in (one.before, one.after) if size is not None)
    return ChangedFile(one.path, one.kind, _WORDS[one.kind], sizes, lines, one.why, 0 < len(lines) <= OPEN_LINES)


def archives(view: RunView, step: StepView) -> Sequence[tuple[str, str]]:
    """Give words and addresses of the workspace's archives; none after a step of which nothing was kept."""
    address = f"/api/v1/runs/{view.summary.id}/steps/{quote(step.key, safe='')}/workspace?when="
    kept = step.state in ENDED and not why_dropped(step.state, step.options)
    return [("Before", f"{address}before"), ("After", f"{address}after")][: 2 if kept else 1]
