"""What a server holds of the machine: to be no more after a storm than before it."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from live import LiveServer

CONNECTIONS = 45
"""Descriptors of the database that a server may hold: the engine's, and a pool that grows with the web's threads."""


@dataclass(frozen=True)
class Held:
    """Everything that could be left behind, each kind counted by what tells it from others."""

    descriptors: Counter[str]  # of the server, by what they lead to
    processes: Counter[str]  # below the server
    mounts: Counter[str]  # that the server or the host has below the state directory
    directories: Counter[str]  # work, forks and what is half made in the state directory; all of the temporary one
    pins: Counter[str]
    cgroups: Counter[str]  # of isolates, of this server and of those with other pids before it

    def beyond(self, before: "Held") -> dict[str, Counter[str]]:
        """What is held now and was not held before."""
        more = {name: now - before.__dict__[name] for name, now in self.__dict__.items()}
        return {name: counted for name, counted in more.items() if counted}


def held(server: LiveServer, temporary: Path, pids: Iterable[int]) -> Held:
    """Look at what the server holds; `pids` are of servers that were killed on the same state."""
    pid, state = server.pid, server.state
    unfinished = [name for _, names, files in os.walk(state) for name in (*names, *files) if name.startswith(".new-")]
    folders = [*state.glob("work/*"), *state.glob("forks/*"), *map(Path, unfinished), *temporary.iterdir()]
    refs = [ref for file in state.glob("repos/*.git/packed-refs") for ref in file.read_text().split()]
    owners = {f"stepwell-{owner}-": "this" if owner == pid else "a dead" for owner in (pid, *pids)}
    links = descriptors(pid)
    database = Counter({link: count for link, count in links.items() if "/stepwell.db" in link})
    assert database.total() <= CONNECTIONS, f"the server holds {database.total()} descriptors of the database"
    return Held(
        links - database,
        Counter(filter(None, map(_command, psutil.Process(pid).children(recursive=True)))),
        Counter(_named(line, state) for who in ("self", str(pid)) for line in _mounts(who) if str(state) in line),
        Counter(map(str, folders)),
        Counter(ref for ref in refs if ref.startswith("refs/runs/")),
        Counter(_cgroups(owners)),
    )


def _cgroups(owners: Mapping[str, str]) -> list[str]:
    found = []
    for place, below, _ in os.walk("/sys/fs/cgroup"):
        who = [told for start, told in owners.items() if Path(place).name.startswith(start)]
        found += [f"of {told} server in {Path(place).parent}" for told in who for _ in below]
    return found


def descriptors(pid: int) -> Counter[str]:
    """Count the descriptors of a process by what they lead to, without the numbers of pipes, sockets and the like."""
    return Counter(map(_kind, _links(pid)))


def _links(pid: int) -> list[str]:
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return links


def _command(process: psutil.Process) -> str:
    try:
        return re.sub(r"\d+$", "", " ".join(process.cmdline()))  # a zygote is told the number of a descriptor
    except psutil.NoSuchProcess:
        return ""


def _kind(link: str) -> str:
    return re.sub(r":\[\d+\]", "", link)


def _named(line: str, state: Path) -> str:
    """A server that follows another mounts the folder of its served trees again, under new numbers."""
    return "served trees" if line.split()[4].startswith(f"{state}/lazy") else line


def _mounts(who: str) -> list[str]:
    return Path(f"/proc/{who}/mountinfo").read_text().splitlines()
