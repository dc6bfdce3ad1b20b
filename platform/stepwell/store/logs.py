"""Logs: one file per attempt of a step, written by one thread, read by anybody at any offset.

Executors write from an event loop that must not wait for a disk. So `write` only appends to a list, and one thread
takes everything that came since its last round: the first byte of a quiet log is on disk within a millisecond, a flood
is written in large pieces. Masking happens there too, before anything reaches the file. Whoever waits for the end of a
log (`kept`) does not wait for the thread's pause.
Key "" is the run's own log: prints outside steps.

A line that begins with NOTE is Stepwell's own. The command cannot forge one: NOTE in its output becomes NOTE_SHOWN.
A log ends at LIMIT bytes, with a note that says so; what a full disk refuses is dropped and noted when it can be again.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepwell.store.log_files import NOTE, Log, LogFile, LogName
from stepwell.store.masks import Masker, masks_of
from stepwell.store.taken import taken_by_files

PACE_SECONDS = 0.01
"""Pause between two rounds of the writing thread: a flood costs 100 writes a second, not one a line."""
NOTE_SHOWN = "\N{SYMBOL FOR RECORD SEPARATOR}".encode()
_LOGGER = logging.getLogger(__name__)

Follower = Callable[["Grown"], None]


@dataclass(frozen=True)
class Grown:
    """A log has grown to `size` bytes, or ended."""

    run: str
    key: str
    attempt: int
    size: int
    ended: bool


class LogStore:
    """Writes and reads logs under one directory. Safe to use from any thread."""

    def __init__(self, root: Path, now: Callable[[], float] = time.time) -> None:
        self._root = root
        self._now = now
        self._work = threading.Condition()
        self._dirty: dict[LogWriter, None] = {}
        self._busy = False
        self._rounds = 0
        self._urgent = False  # somebody waits: the next round begins at once
        self._closing = False
        self._followers: tuple[Follower, ...] = ()
        self._thread: threading.Thread | None = None

    def writer(self, run: str, key: str, attempt: int, masks: Iterable[str] = ()) -> "LogWriter":
        """Open the log of an attempt; what a lost attempt of the same number wrote stays, above."""
        return LogWriter(self, LogName(run, key, attempt), masks_of(masks))

    def log(self, run: str, key: str, attempt: int) -> "Log":
        """Return the log for reading; an attempt that wrote nothing has an empty one."""
        return Log(self.path(LogName(run, key, attempt)))

    def sizes(self, run: str) -> Callable[[str, int], int]:
        """Look at all logs of a run at once; what is returned says how many bytes an attempt's log had, 0 for none."""
        found: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / LogName(run, "", 0).folder) as files:
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # the run is being removed
                    found[file.name] = file.stat().st_size
        return lambda key, attempt: found.get(LogName(run, key, attempt).file, 0)

    def taken(self, run: str) -> int:
        """Return the bytes of all logs of a run."""
        return taken_by_files(self._root / LogName(run, "", 0).folder)

    def path(self, name: "LogName") -> Path:
        """Where the log lies."""
        return self._root / name.folder / name.file

    def attempts(self, run: str, key: str) -> list[int]:
        """Numbers of the attempts of which there is a log."""
        stem = LogName(run, key, 0)
        found = (self._root / stem.folder).glob(f"{stem.stem}.*.log")
        return sorted(int(path.name.split(".")[-2]) for path in found)

    def written(self, run: str) -> dict[str, Log]:
        """Return all logs of a run, by the names of their files."""
        folder = self._root / LogName(run, "", 0).folder
        return {path.name: Log(path) for path in sorted(folder.glob("*.log"))}

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Call `follower` on the writing thread after each batch, until the returned function is called."""
        with self._work:
            self._followers = (*self._followers, follower)

        def stop() -> None:
            with self._work:
                self._followers = tuple(one for one in self._followers if one is not follower)

        return stop

    def remove(self, run: str) -> None:
        """Delete every log of the run. Raises OSError for one that is there and cannot be deleted."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._root / LogName(run, "", 0).folder)

    def keep_rounds(self, run: str, rounds: Mapping[int, Sequence[str]]) -> None:
        """Keep the logs of these steps, by round; the run's own log becomes that of the last round. All else goes.

        Services' logs go, too. Raises OSError for what is there and cannot be moved or deleted.
        """
        self.flush()  # the round's last lines belong to its files
        folder = self._root / LogName(run, "", 0).folder
        keys = [key for number, steps in rounds.items() for key in (round_key(number), *steps)]
        kept = {LogName(run, key, 0).stem for key in keys}
        own = LogName(run, "", 0)
        over = LogName(run, round_key(max(rounds, default=0)), 0)
        for file in list(folder.iterdir()) if folder.is_dir() else ():
            stem = file.name.rsplit(".", 2)[0]
            if stem == own.stem:
                file.rename(folder / f"{over.stem}.0{file.suffix}")
            elif stem not in kept:
                file.unlink()

    def flush(self) -> None:
        """Wait until everything written before this call is in the files, whatever is written meanwhile."""
        with self._work:
            due = self._rounds + self._busy + bool(self._dirty)
            self._work.wait_for(lambda: self._rounds >= due)

    def close(self) -> None:
        """Write what is left and end the thread; a later write starts it again."""
        with self._work:
            self._closing = True
            self._work.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def wake(self, writer: "LogWriter", *, urgent: bool = False) -> None:
        """Have the writing thread take what the writer collected. Called by writers."""
        with self._work:
            self._dirty[writer] = None
            self._urgent = self._urgent or urgent
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._run, name="stepwell-logs", daemon=True)
                self._thread.start()
            self._work.notify_all()

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._dirty or self._closing)
                if not self._dirty:
                    self._thread = None
                    return
                batch, self._dirty = list(self._dirty), {}
                self._urgent = False
                self._busy = True
                followers = self._followers
            for writer in batch:
                self._drain(writer, followers)
            with self._work:
                self._busy = False
                self._rounds += 1
                self._work.notify_all()
                self._work.wait_for(lambda: self._urgent or self._closing, PACE_SECONDS)

    def _drain(self, writer: "LogWriter", followers: tuple[Follower, ...]) -> None:
        """Take what one writer collected; a log that cannot be written must end no other, nor hold up its step."""
        try:
            grown = writer.drain(self._now())
        except Exception:
            _LOGGER.exception("The log %s cannot be written; what comes is dropped.", writer.path)
            writer.give_up()
            return
        if grown is not None:
            _tell(followers, grown)


def _tell(followers: tuple[Follower, ...], grown: Grown) -> None:
    """One follower's mistake must not end the logs of everybody."""
    for follower in followers:
        try:
            follower(grown)
        except Exception:
            _LOGGER.exception("A follower of the log of run %s, step %s failed.", grown.run, grown.key)


def round_key(number: int) -> str:
    """Return the key of the run's own log of an earlier round: no step has it."""
    return f"@{number}"


def log_key(step: str, service: str) -> str:
    """Return the key of a service's log: no step has it, for those end with a number."""
    return f"{step}@{service}"


class LogWriter:
    """Takes an attempt's output. `write` and `note` never block and never raise; `close` ends the log."""

    def __init__(self, store: LogStore, name: LogName, masks: frozenset[bytes]) -> None:
        self._store = store
        self._name = name
        self._masks = masks
        self._masker = Masker(masks)
        self.path = store.path(name)
        self._lock = threading.Lock()
        self._came: list[bytes | str] = []
        self._behind = 0
        self._notes: list[bytes] = []
        self._file = LogFile(self.path)
        self._closed = False
        self._ended = False
        self._waiting: list[Callable[[], None]] = []

    def write(self, data: bytes) -> None:
        """Take output of the command."""
        self._take(bytes(data))

    def note(self, text: str) -> None:
        """Add a line of Stepwell's own."""
        self._take(text)

    def behind(self) -> int:
        """Bytes that are not in the file yet."""
        return self._behind

    def beside(self, name: str) -> "LogWriter":
        """Open the log of a service beside the attempt."""
        key = log_key(self._name.key, name)
        return LogWriter(self._store, LogName(self._name.run, key, self._name.attempt), self._masks)

    def close(self) -> None:
        """Say that nothing more comes."""
        with self._lock:
            self._closed = True
        self._store.wake(self)

    async def kept(self) -> None:
        """Wait until the closed log is in its file; a disk that refuses it is not waited for."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        with self._lock:
            if self._ended:
                return
            self._waiting.append(tell)
        self._store.wake(self, urgent=True)
        await ended.wait()

    def _take(self, data: bytes | str) -> None:
        with self._lock:
            if self._closed or self._ended or not data:
                return
            self._came.append(data)
            self._behind += len(data)
        self._store.wake(self)

    def drain(self, now: float) -> Grown | None:
        """Write what came. Called by the store's thread only."""
        with self._lock:
            came, self._came = self._came, []
            closed = self._closed
        if self._ended:
            return None
        out = self._masked(came)
        if closed:
            out.append(self._shown(self._masker.finish()))
            out += self._due_notes()
        self._file.append(out, now)
        with self._lock:
            self._behind -= sum(map(len, came))
        if closed:
            self.give_up()
        return Grown(self._name.run, self._name.key, self._name.attempt, self._file.size, closed)

    def give_up(self) -> None:
        """Write nothing more and let go whoever waits. Called by the store's thread only."""
        with self._lock:
            self._ended = True
            self._behind = 0
            waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()

    def _masked(self, came: list[bytes | str]) -> list[bytes]:
        """Mask in the order it came; a note waits while bytes are held back, so that it never cuts a secret in two."""
        out: list[bytes] = []
        for data in came:
            if isinstance(data, str):
                self._notes.append(self._masker.clean(data.encode(errors="replace")))
            else:
                out.append(self._shown(self._masker.feed(data)))
            if self._notes and not self._masker.holding:
                out += self._due_notes()
        return out

    def _due_notes(self) -> list[bytes]:
        notes, self._notes = self._notes, []
        return [NOTE + line + b"\n" for note in notes for line in note.splitlines() or [b""]]

    @staticmethod
    def _shown(data: bytes) -> bytes:
        return data.replace(NOTE, NOTE_SHOWN)
