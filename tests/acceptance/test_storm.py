"""Many runs at once, and kill -9 of the server, the zygote and isolates at random: nothing lost, nothing twice, nothing
left.

Callers ask again what a dying server did not answer. In the end each run that was acknowledged has passed with the
result that its journal explains; each event, decision and result is there once; what had passed when a server died has
not run again; and the server holds no more of the machine than before. Fifty runs here; `make soak` keeps two hundred
going for ten minutes.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from callers import Callers
from leftovers import Held, descriptors, held
from live import LiveServer, commit_all, git, wait_until, write_pipeline

from stepwell.engine.rebuild import Rebuild
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell.store.logs import LogStore
from stepwell.store.packed import unpack

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
RUNS = 200 if SOAK else 50  # at once
SECONDS = 600.0 if SOAK else 0.0  # new waves of runs begin for so long
ENTRIES = 20  # at least, in the journal of a run
BLANKS = 4
VICTIMS = ("server", "zygote", "isolate", "isolate", "isolate")
KILLS = 40 if SOAK else 10  # in each wave
pytestmark = [pytest.mark.root, pytest.mark.timeout(1800 if SOAK else 400)]
PIPELINE = """
from asyncio import gather
from stepwell import Pipeline, Retry, manual

AGAIN = Retry(20, delay=0.1)  # an isolate that was killed alone counts as a failed attempt

def count(number):
    print("EXECUTED")
    return number + 1

class Storm(Pipeline):
    on = [manual(number="")]

    async def run(self, event, step):
        number = int(event.inputs["number"])
        counted = await step.do("count", count, number, retries=AGAIN)
        await gather(*(
            step.run(side, f"echo EXECUTED; echo {number} >> {side}; sleep 0.1", retries=AGAIN)
            for side in ("left", "right")
        ))
        await step.sleep("nap", 1)
        told = await step.wait_for_event("go", type="go")
        await step.approval("Go on?")
        joined = await step.run(
            "join", "echo EXECUTED; echo total=$(( $(cat left) + $(cat right) )) >> $STEPWELL_OUTPUT", retries=AGAIN
        )
        return [counted, told, int(joined.outputs["total"])]
"""

Passed = dict[tuple[str, str], int]  # run and key of a step that passed → how often it had been executed


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    path = tmp_path / "temporary"
    path.mkdir()
    return path


@pytest.fixture
def server(tmp_path: Path, temporary: Path) -> Iterator[LiveServer]:
    pool = {"STEPWELL_BLANKS": str(BLANKS), "STEPWELL_MOST_BLANKS": str(BLANKS)}  # as large after a storm as before
    live = LiveServer(tmp_path / "state", {"TMPDIR": str(temporary)} | pool)
    live.start()
    tree = tmp_path / "author"
    write_pipeline(tree, PIPELINE)
    commit_all(tree, "storm")
    git("push", "-q", live.create_repository("storm"), "HEAD:main", cwd=tree)
    yield live
    live.stop()


class Killer:
    """Kills at random, and remembers what it killed and what was true then."""

    def __init__(self, server: LiveServer, chance: random.Random) -> None:
        self.server = server
        self.pids: list[int] = []  # of servers that were killed
        self.seen: set[psutil.Process] = set()  # all that ran below them
        self.passed: list[Passed] = []  # at each death of a server
        self._chance = chance
        self._victims: list[str] = []

    def kill(self) -> bool:
        """Kill the next victim; false when there is none of its kind now."""
        if not self._victims:
            self._victims = self._chance.sample(VICTIMS, len(VICTIMS))
        victim = self._victims[-1]
        self.seen |= set(below(self.server.pid))
        if victim == "server":
            self.pids.append(self.server.pid)
            self.server.kill()
            self.passed.append(passed(self.server))
            self.server.start()
        elif not self._kill_any(zygotes(self.server) if victim == "zygote" else isolates(self.server)):
            return False
        self._victims.pop()
        return True

    def _kill_any(self, found: list[psutil.Process]) -> bool:
        with suppress(psutil.NoSuchProcess, IndexError):
            self._chance.choice(found).kill()
            return True
        return False

    def left(self) -> list[psutil.Process]:
        """What ran below a server and outlived it."""
        now = {self.server.pid, *(process.pid for process in below(self.server.pid))}
        return [process for process in self.seen if process.pid not in now and _lives(process)]


def zygotes(server: LiveServer) -> list[psutil.Process]:
    return [process for process in below(server.pid) if _parent(process) == server.pid and "zygote" in _words(process)]


def isolates(server: LiveServer) -> list[psutil.Process]:
    """Isolates, blank ones too, and the commands in them."""
    found = [process for process in below(server.pid) if _parent(process) != server.pid]
    return [process for process in found if "lazy_server" not in _words(process)]


def pool_rests(server: LiveServer) -> bool:
    """Whether the blanks are all the isolates there are, and the server holds each of them.

    The process of a blank is there some milliseconds before the server has its pidfd, and that of an isolate whose run
    has ended for as long after it: a count of processes alone may be right while the server holds fewer or other ones.
    """
    return len(isolates(server)) == BLANKS == descriptors(server.pid)["anon_inode:[pidfd]"]


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.ppid())
    return 0


def _words(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def passed(server: LiveServer) -> Passed:
    """Which steps the journal shows as passed, and how often their words are in the logs on disk."""
    logs = LogStore(server.state / "logs")
    rows = server.query("SELECT run, key, data FROM journal WHERE type = 'done'")
    done = [(run, key) for run, key, data in rows if json.loads(unpack(data))["ok"]]
    return {
        (run, key): sum(logs.log(run, key, n).read(0, 1 << 16).count(b"EXECUTED") for n in logs.attempts(run, key))
        for run, key in done
    }


def wave(server: LiveServer, callers: Callers, killer: Killer, chance: random.Random, first: int) -> None:
    """Have that many runs at once, kill while they go on, wait until all have ended."""

    def entries() -> int:
        return int(server.query("SELECT count(*) FROM journal")[0][0])

    def ended() -> bool:
        states = dict(server.query("SELECT state, count(*) FROM runs GROUP BY state"))
        assert set(states) <= {"queued", "running", "waiting", "passed"}, states
        return states.get("passed") == first + RUNS

    end = entries() + RUNS * ENTRIES
    with ThreadPoolExecutor(8) as pool:
        started = pool.map(callers.start, range(first, first + RUNS))
        kills = 0
        while kills < KILLS:
            now = entries()
            reached = now + chance.randint(0, max(0, end - now) // (KILLS - kills))  # a share of what is to come
            wait_until(lambda reached=reached: entries() >= reached or ended(), 120, "progress")  # type: ignore[misc]
            assert not ended(), f"the storm was over after {kills} kills"
            kills += killer.kill()
        list(started)
    wait_until(ended, 300, f"end of {RUNS} runs")


def test_nothing_is_lost_or_twice_or_left_after_a_storm(server: LiveServer, temporary: Path) -> None:
    chance = random.Random(None if SOAK else "storm")
    killer = Killer(server, chance)
    with Callers(server) as callers:
        callers.start(0)
        wait_until(lambda: server.state_of(callers.runs[0]) == "passed", 60, "end of a first run")
        wait_until(lambda: pool_rests(server), 60, "full pool of blanks and nothing else")
        before = settled(server, temporary, killer, None)
        end, first = time.monotonic() + SECONDS, 1
        while first == 1 or time.monotonic() < end:
            wave(server, callers, killer, chance, first)
            first += RUNS
        print(f"\n{first} runs, {len(killer.pids)} servers killed")
    check_journals(server, callers, first)
    executed = passed(server)
    for then in killer.passed:
        again = {key: (count, executed[key]) for key, count in then.items() if executed[key] != count}
        assert not again, f"had passed when the server died and ran again: {again}"
    settled(server, temporary, killer, before)
    server.stop()
    journal = SqliteJournal(server.state / "stepwell.db", wal_bytes=4096)
    journal.open()
    with closing(journal):
        report = Rebuild(SqliteTables(journal), mend=False).run()
    assert (report.told, report.damaged) == ([], [])


def settled(server: LiveServer, temporary: Path, killer: Killer, before: Held | None) -> Held:
    """What the server holds when nothing goes on; not more than before."""
    found: list[object] = []

    def rests() -> Held | None:
        now = held(server, temporary, killer.pids)
        more = now.beyond(before) if before else {"directories": now.directories, "pins": now.pins}
        found[:] = [more, killer.left()]
        return now if not any(more.values()) and not killer.left() else None

    try:
        return wait_until(rests, 60, "rest")  # type: ignore[return-value]
    except AssertionError as error:
        raise AssertionError(f"left behind: {found}") from error


def check_journals(server: LiveServer, callers: Callers, count: int) -> None:
    """Hold each run's journal to what its callers were told."""
    journals: dict[str, list[tuple[str, str, dict[str, object]]]] = {}
    for run, type, key, data in server.query("SELECT run, type, key, data FROM journal ORDER BY run, seq"):
        journals.setdefault(run, []).append((type, key, json.loads(unpack(data)) if data else {}))
    assert set(journals) == set(callers.runs.values()), "runs that nobody started, or acknowledged ones that are gone"
    assert set(callers.runs) == callers.told == set(range(count))
    for number, run in callers.runs.items():
        entries = journals[run]
        once = [(type, key) for type, key, _ in entries if type in {"created", "event", "decision", "done", "ended"}]
        wanted = [("done", f"{name}#1") for name in ("count", "join", "left", "right", "Go on?")]
        wanted += [("created", ""), ("event", ""), ("decision", "Go on?#1"), ("ended", "")]
        assert sorted(once) == sorted(wanted), f"run {number}: {once}"
        (payload,) = (data["payload"] for type, _, data in entries if type == "event")
        assert payload == number
        assert entries[-1][2]["result"] == [number + 1, number, 2 * number], f"run {number}: {entries[-1]}"
