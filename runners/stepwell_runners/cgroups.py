"""One cgroup per isolate, where this process may make one: the only thing that bounds the memory of a whole isolate.

Version 2 is used where memory and pids are delegated to a cgroup that we may write to: our own or the nearest one
above. Version 1 needs the two hierarchies. Where there is cpu too, an isolate has the weight of one, however many
processes it starts, and can be held to a part of the processors. A cgroup serves one isolate and is never reused:
`cgroup.kill` and freezing leave marks on it. The isolate is moved in after its fork and before it is told anything to
run.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

_CONTROLLERS = ("memory", "pids")
_PERIOD = 100_000  # microseconds, in which a quota is counted
_WEIGHT, _SHARES = 100, 1024  # what a cgroup has unless it is told otherwise, in version 2 and 1
_ours: set[str] = set()  # names in use by this process


def _next_name() -> str:
    name = f"stepwell-{os.getpid()}-{len(_ours)}"
    _ours.add(name)
    return name


@dataclass(frozen=True)
class Cgroup:
    """The cgroup of one isolate: a directory in version 2, one per controller in version 1."""

    memory: Path
    pids: Path
    bounds: int = 0  # bytes
    processes: int = 0
    cpu: Path | None = None
    processors: float = 0.0  # 0: all there are

    @property
    def paths(self) -> set[Path]:
        """Its directories."""
        return {self.memory, self.pids} | ({self.cpu} if self.cpu else set())

    def bound(self, memory: int, processes: int, processors: float = 0.0) -> "Cgroup":
        """Set its bounds; the same cgroup as it is then."""
        if self.cpu and processors != self.processors:
            quota = max(1000, int(processors * _PERIOD)) if processors else None
            if self.cpu == self.memory:
                _write(self.cpu / "cpu.max", f"{quota or 'max'} {_PERIOD}")
            else:
                _write(self.cpu / "cpu.cfs_quota_us", str(quota or -1))
        limits = [self.memory / "memory.max"]
        if self.memory != self.pids:
            limits = [self.memory / "memory.limit_in_bytes"]
            swap = self.memory / "memory.memsw.limit_in_bytes"
            if swap.exists():
                limits.insert(0 if memory > self.bounds > 0 else 1, swap)  # never below the other one
        for limit in limits:
            _write(limit, str(memory))
        _write(self.pids / "pids.max", str(processes))
        return replace(self, bounds=memory, processes=processes, processors=processors)

    def weigh(self, part: int) -> None:
        """Give it this part of the weight of a whole isolate, where processors are shared out at all."""
        if self.cpu and self.cpu == self.memory:
            _write(self.cpu / "cpu.weight", str(max(1, _WEIGHT // part)))
        elif self.cpu:
            _write(self.cpu / "cpu.shares", str(max(2, _SHARES // part)))

    def attach(self, pid: int) -> None:
        """Move a process in; its children follow."""
        for path in self.paths:
            _write(path / "cgroup.procs", str(pid))

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in it for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            try:
                lines = (self.memory / name).read_text().splitlines()
            except FileNotFoundError:
                continue
            return any(line.split() == ["oom_kill", n] for line in lines for n in line.split()[1:] if n != "0")
        return False

    def out_of_processes(self) -> bool:
        """Whether the kernel refused it another process or thread; false on kernels that do not count that."""
        try:
            lines = (self.pids / "pids.events").read_text().splitlines()
        except FileNotFoundError:
            return False
        return any(line.startswith("max ") and line != "max 0" for line in lines)

    def remove(self) -> bool:
        """Remove it; False while the kernel still counts a process in it."""
        for path in self.paths:
            try:
                path.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


@dataclass
class Cgroups:
    """Where cgroups can be made: `parents` by controller; `problem` says why not, in words."""

    version: int = 0
    parents: dict[str, Path] = field(default_factory=dict)
    problem: str = ""
    _name: str = field(default_factory=_next_name)

    @classmethod
    def find(cls, root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self")) -> "Cgroups":
        """Look for a place and make the parent of all ours. Never raises for what the host lacks."""
        own = dict(_own(process))
        found = cls()
        try:
            if all(name in own for name in _CONTROLLERS):
                found.version, found.parents = 1, {n: _existing(root / n, own[n]) for n in _CONTROLLERS}
                if "cpu" in own and (_existing(root / "cpu", own["cpu"]) / "cpu.cfs_quota_us").exists():
                    found.parents["cpu"] = _existing(root / "cpu", own["cpu"])
            elif "" in own:
                below = _delegated(root, own[""])
                handed = "cpu" in (below / "cgroup.subtree_control").read_text().split()
                found.version, found.parents = 2, dict.fromkeys((*_CONTROLLERS, *(["cpu"] if handed else [])), below)
            else:
                raise FileNotFoundError(2, "no memory and pids controllers", str(root))
            found.sweep()
            found._make_parents()
        except OSError as error:
            found.version, found.parents = 0, {}
            found.problem = f"{error.strerror}: {error.filename}"
        return found

    def make(self, number: int, memory: int, processes: int) -> Cgroup | None:
        """A cgroup with these bounds, or None where none can be made."""
        if not self.version:
            return None
        paths = {name: parent / self._name / f"i{number}" for name, parent in self.parents.items()}
        for path in set(paths.values()):
            path.mkdir()
        group = Cgroup(paths["memory"], paths["pids"], cpu=paths.get("cpu"))
        if self.version == 2:
            _write(group.memory / "memory.oom.group", "1")
            swap = group.memory / "memory.swap.max"
            if swap.exists():
                _write(swap, "0")
        return group.bound(memory, processes)

    def sweep(self) -> None:
        """Remove what servers that are gone have left."""
        for parent in set(self.parents.values()):
            for old in parent.glob("stepwell-*"):
                pid = old.name.split("-")[1]
                gone = pid == str(os.getpid()) or not Path(f"/proc/{pid}").exists()
                if gone and old.name not in _ours:
                    _remove_tree(old)

    def close(self) -> None:
        """Remove the parent of all ours, as far as it is empty."""
        for parent in set(self.parents.values()):
            _remove_tree(parent / self._name)

    def _make_parents(self) -> None:
        for parent in set(self.parents.values()):
            ours = parent / self._name
            ours.mkdir(exist_ok=True)
            if self.version == 2:
                _write(ours / "cgroup.subtree_control", " ".join(f"+{name}" for name in self.parents))


def _write(file: Path, text: str) -> None:
    """Path.write_text takes more than twice as long, and a burst of 50 isolates writes hundreds of these."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _own(process: Path) -> Iterator[tuple[str, str]]:
    """(controller, path) of this process; the controller of version 2 is empty."""
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _existing(mount: Path, path: str) -> Path:
    """Our own cgroup as seen here; in a container the mount may begin at it."""
    inside = mount / path.lstrip("/")
    return inside if inside.is_dir() else mount


def _delegated(root: Path, path: str) -> Path:
    """The nearest cgroup from ours upwards that hands memory and pids to its children and that we may write to."""
    place = _existing(root, path)
    while True:
        handed = (place / "cgroup.subtree_control").read_text().split()
        if set(_CONTROLLERS) <= set(handed) and os.access(place, os.W_OK):
            return place
        if place == root:
            raise PermissionError(13, "memory and pids are not delegated", str(_existing(root, path)))
        place = place.parent


def _remove_tree(path: Path) -> None:
    try:
        for child in path.iterdir():
            if child.is_dir():
                with suppress(FileNotFoundError):  # another server sweeps as well
                    child.rmdir()
        path.rmdir()
    except OSError:
        return  # somebody is in it; the next start tries again
