"""Toolchains that were installed once and are lent to tests that are not about installing them."""

import os
import shutil
from pathlib import Path


def keep(state: Path, kept: Path) -> None:
    """Keep the toolchains of a state directory that nobody uses any more."""
    if not kept.exists():
        (state / "tools").rename(kept)


def lend(kept: Path, state: Path) -> None:
    """Give a new state directory what was kept, if any: its server installs what it does not find."""
    if kept.exists():
        shutil.copytree(kept, state / "tools", symlinks=True, copy_function=os.link)
