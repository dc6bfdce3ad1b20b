"""What an operator decides about isolates, and the environment every command starts from."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import stepwell.authoring
from stepwell_runners import package_index
from stepwell_runners.pythons import SHARED, pythons
from stepwell_runners.root import STEPWELL


def _library() -> dict[str, Path]:
    """Stepwell's part that isolates see: the authoring side and nothing else."""
    package = Path(stepwell.authoring.__file__).parent.parent
    parts = {"stepwell/__init__.py": package / "__init__.py", "stepwell/authoring": package / "authoring"}
    return {name: path for name, path in parts.items() if path.exists()}


def _upstream() -> str | None:
    return os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or None


@dataclass(frozen=True)
class IsolateOptions:
    """`exceptions` and `upstream` serve hosts that reach the package index by a private address or through a proxy."""

    wall: Literal["full", "none"] = "full"
    exceptions: frozenset[str] = field(
        default_factory=package_index.hosts
    )  # host or host:port, reached although private
    upstream: str | None = field(
        default_factory=_upstream
    )  # http://host:port of a proxy that the proxy itself must use
    entry: str = "stepwell.authoring.isolate:serve"
    library: Mapping[str, Path] = field(default_factory=_library)  # name below /opt/stepwell/lib → file or directory
    blanks: int = 4  # kept ready, 6 MB each
    most_blanks: int = 64  # after bursts that asked for so many
    blanks_idle_seconds: float = 600.0  # then they are given back
    isolates_per_zygote: int = 1_000
    seconds_per_zygote: float = 3_600.0


def interpreter() -> str:
    """The interpreter itself, behind the links of virtual environments."""
    return os.path.realpath(sys.executable)


def prefixes() -> tuple[str, ...]:
    """Directories that the interpreter needs, and those that steps may ask for."""
    found = (sys.base_prefix, sys.base_exec_prefix, *(python.prefix for python in pythons().values()))
    return tuple(dict.fromkeys(path for path in found if path not in ("/", *SHARED)))


def base_environment() -> dict[str, str]:
    """What every isolate's environment begins with."""
    own = str(Path(interpreter()).parent)
    path = (f"{STEPWELL}/bin", own, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    return {
        "PATH": ":".join(dict.fromkeys(path)),
        "HOME": "/tmp",  # noqa: S108
        "USER": "step",
        "LOGNAME": "step",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108
    }
