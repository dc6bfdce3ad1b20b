"""Workspaces as a step sees them, without an isolate: the overlay mounted by root, or the copy as it is."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell_runners.slots import overlay_options
from stepwell_runners.spec import Overlay
from stepwell_runners.workspaces import Form, Workspace

FORMS: list[Form] = ["overlay", "copy"] if os.geteuid() == 0 else ["copy"]


@contextmanager
def entered(workspace: Workspace) -> Iterator[Path]:
    """Mount a workspace where a step would see it."""
    if not isinstance(workspace.mount, Overlay):
        yield workspace.upper
        return
    view = workspace.place / "view"
    view.mkdir()
    options = overlay_options(workspace.mount)
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", view], check=True)
    try:
        yield view
    finally:
        subprocess.run(["umount", view], check=True)
