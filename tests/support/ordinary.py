"""The installed `stepwell` as an ordinary user of this host runs it, wherever the tests' own interpreter lies."""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import BIN

ROOT = Path(__file__).resolve().parents[2]
ID = 4242


def become(*groups: int) -> tuple[str, ...]:
    """Return the words before a command that is run as the ordinary user, who is in these groups."""
    further = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return ("setpriv", f"--reuid={ID}", f"--regid={ID}", further)


def _in_reach() -> bool:
    """Say whether the ordinary user can reach the interpreter that runs the tests."""
    interpreter = str(Path(sys.executable).resolve())
    return subprocess.run([*become(), "test", "-x", interpreter], check=False).returncode == 0


def program() -> tuple[str, ...]:
    """Return `stepwell`: by the system's interpreter where the tests' own lies in root's home."""
    if _in_reach():
        return (str(BIN / "stepwell"),)
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if subprocess.run([system, "-c", "import ensurepip, venv"], check=False, capture_output=True).returncode:
        pytest.skip(f"an ordinary user cannot reach {sys.executable}, and there is no {system} with venv")
    return (system, "-m", "stepwell.cli")


def packages() -> dict[str, str]:
    """Return the variables with which that interpreter finds what the tests have installed."""
    if _in_reach():
        return {}
    roots = (sysconfig.get_path("purelib"), *(str(ROOT / name) for name in ("platform", "runners", "web")))
    return {"PYTHONPATH": ":".join(roots)}


@contextmanager
def home() -> Iterator[Path]:
    """Give a home that the ordinary user can reach: pytest's own directories are for the tests' user only."""
    with tempfile.TemporaryDirectory(prefix="stepwell-ordinary-") as folder:
        os.chown(folder, ID, ID)
        yield Path(folder)
