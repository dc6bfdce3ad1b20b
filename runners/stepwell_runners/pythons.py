"""The Pythons of this host: Stepwell's own, and those found on PATH as `python3.N`, for `python=` of a step.

Isolates see them at their own path. So one counts only when it is a program, not a script that finds one, and when its
prefix holds a Python and nothing that is somebody's: a prefix like ~/.local would show more than that.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
SHARED = ("/usr", "/usr/local")  # prefixes that are in every root
_MINORS = range(8, 30)


@dataclass(frozen=True)
class Python:
    """An interpreter: "3.12" and where it is, behind all links."""

    version: str
    path: str

    @property
    def prefix(self) -> str:
        """The directory that it needs."""
        return str(Path(self.path).parent.parent)

    @property
    def tag(self) -> str:
        """What installed packages depend on."""
        return _tag(self.path)


@cache
def pythons() -> dict[str, Python]:
    """Every Python of this host by its version; the own one wins."""
    found = {OWN: Python(OWN, os.path.realpath(sys.executable))}
    for version in (f"3.{minor}" for minor in _MINORS):
        for folder in os.environ.get("PATH", os.defpath).split(":"):
            python = Python(version, os.path.realpath(f"{folder}/python{version}"))
            if version not in found and _is_program(python.path) and _is_its_own(Path(python.prefix), version):
                found[version] = python
    return found


def _is_program(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _is_its_own(prefix: Path, version: str) -> bool:
    if str(prefix) in SHARED:
        return True
    if prefix in (Path("/"), Path.home()) or prefix.name == ".local":
        return False
    return (prefix / "lib" / f"python{version}" / "os.py").exists()


@cache
def _tag(path: str) -> str:
    if path == os.path.realpath(sys.executable):
        return f"{sys.implementation.cache_tag}-{sys.version_info[2]}"
    program = "import sys; print(f'{sys.implementation.cache_tag}-{sys.version_info[2]}')"
    return subprocess.run([path, "-I", "-c", program], capture_output=True, text=True, check=True).stdout.strip()
