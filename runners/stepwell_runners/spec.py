"""What is asked of a runner: isolates for commands, the files they see, their limits, and how they end.

Plain data, no behaviour: workspaces, containers and the executor build on these names.

Owners on disk: every tree, upper and layer belongs to the user Stepwell runs as (0:0 for root). Each mount translates
that owner into the tenant's uid (an idmapped mount as root; as an ordinary user there is one uid only), so a cached
tree serves all tenants and nothing is ever chowned.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

WORKSPACE = "/workspace"
TOOLS = "/tools"
FILES = "/run/files"  # private files of one command, on a tmpfs that only it sees
PROXY_PORT = 3128


@dataclass(frozen=True)
class Overlay:
    """A writable view: `lowers` are read-only, topmost first; changes go to `upper`; `work` is empty, same mount.

    The kernel leaves directories without any permission in `work`: `mounts.remove_work` removes them as any user.
    """

    lowers: tuple[Path, ...]
    upper: Path
    work: Path


@dataclass(frozen=True)
class Directory:
    """A directory as it is."""

    path: Path
    read_only: bool = False


@dataclass(frozen=True)
class Merged:
    """A read-only view of several directories, topmost first."""

    lowers: tuple[Path, ...]


Mount = Overlay | Directory
Shown = Mount | Merged


def shown(lowers: tuple[Path, ...]) -> Directory | Merged:
    """Return the read-only mount that shows these."""
    return Directory(lowers[0], read_only=True) if len(lowers) == 1 else Merged(lowers)


@dataclass(frozen=True)
class ToolDir:
    """A directory at /tools/<name>; read-only except while it is being filled."""

    path: Path
    name: str
    read_only: bool = True


Excess = Literal["memory", "processes", "file", "tmp", "output", "disk", "tenant disk"]
"""Which limit an attempt went beyond."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one isolate. `memory` and `processes` are exact where a cgroup can be made, else per process."""

    memory: int = 2 << 30  # bytes
    processes: int = 512
    cpu_seconds: int | None = None  # processor time of any one process
    file_size: int = 8 << 30  # bytes of any one file
    open_files: int = 4096
    tmp: int = 512 << 20  # bytes in /tmp
    processors: float = 0.0  # 0: all there are; where a cgroup for cpu can be made


@dataclass(frozen=True)
class Connection:
    """One connection that an isolate asked for; `refused` says why not."""

    host: str
    port: int
    refused: str | None = None


@dataclass
class Traffic:
    """What has gone through connections of one kind: bytes as the isolate sent and received them."""

    count: int = 0
    sent: int = 0
    received: int = 0


Seen = Callable[[Connection], Traffic | None]
"""Is told of each connection when it is made or refused; what is returned is added to while it lasts."""


@dataclass(frozen=True)
class Egress:
    """Network through the runner's proxy: every public host when `hosts` is None, else those named, or `*.example.org`.

    `seen` is told of every connection, on the engine's loop.
    """

    hosts: frozenset[str] | None = None
    seen: Seen | None = None


@dataclass(frozen=True)
class CommandSpec:
    """One command in an isolate of its own. `files` appear below FILES; `collect` are read when it has ended."""

    tenant: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = WORKSPACE
    workspace: Mount | None = None
    tools: tuple[ToolDir, ...] = ()
    network: Egress | None = None
    limits: Limits = field(default_factory=Limits)
    files: Mapping[str, bytes] = field(default_factory=dict)  # name without slashes → content
    collect: tuple[str, ...] = ()  # absolute paths as the command sees them; 1 MiB each, missing ones are left out


@dataclass(frozen=True)
class Exit:
    """How an isolate ended, in numbers and in words. `lost` when neither its code nor a limit did it."""

    code: int | None  # of the command; None when a signal or a limit ended it
    signal: int | None
    reason: str  # "exit code 1", "killed by SIGKILL", "out of memory (limit 2048 MiB)", "zygote died"
    seconds: float = 0.0
    lost: bool = False
    collected: Mapping[str, bytes] = field(default_factory=dict)
    exceeded: Excess | None = None  # never of a command that ended with 0


@dataclass(frozen=True)
class Finding:
    """What a probe of this host found: `detail` names the step and the errno, `remedy` what to change."""

    name: str
    ok: bool
    detail: str = ""
    remedy: str = ""
