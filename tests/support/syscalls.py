"""What a process asks of the kernel, seen with strace: the order in which things were written, synced and answered."""

import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from live import wait_until

TRACED = "pwrite64,fdatasync,fsync,syncfs,rename,recvfrom,recvmsg,read,write,writev,sendto,sendmsg"
SENDS = frozenset({"write", "writev", "sendto", "sendmsg"})
RECEIVES = frozenset({"read", "recvfrom", "recvmsg"})

_WHOLE = re.compile(r"(?P<task>\d+) +(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)[^()]*(\(.*\))?$")
_BEGUN = re.compile(r"(?P<task>\d+) +(?P<name>\w+)\((?P<args>.*?),? *<unfinished \.\.\.>$")
_ENDED = re.compile(r"(?P<task>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<args>.*)\) += (?P<result>-?\d+)[^()]*(\(.*\))?$")
_FILE = re.compile(r"\d+<(.*?)>")
_HEX = re.compile(r"\\x([0-9a-f]{2})")
_STRING = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Call:
    """One call: the file or socket of its descriptor, the bytes it was given or gave, and the lines of the trace
    between which the kernel had it."""

    name: str
    file: str
    data: bytes
    result: int
    begun: int
    ended: int


def read(trace: str) -> list[Call]:
    """Read what strace wrote with -f, -y and -xx, in the order of the ends. Calls that never ended are left out."""
    calls: list[Call] = []
    open_: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        if whole := _WHOLE.match(line):
            calls.append(_call(whole["name"], whole["args"], int(whole["result"]), number, number))
        elif begun := _BEGUN.match(line):
            open_[begun["task"]] = (number, begun["args"])
        elif (ended := _ENDED.match(line)) and ended["task"] in open_:
            first, args = open_.pop(ended["task"])
            calls.append(_call(ended["name"], f"{args}, {ended['args']}", int(ended["result"]), first, number))
    return calls


def _call(name: str, args: str, result: int, begun: int, ended: int) -> Call:
    file = _FILE.match(args)
    data = b"".join(_bytes(text) for text in _STRING.findall(args[file.end() if file else 0 :]))
    return Call(name, _bytes(file[1]).decode(errors="replace") if file else "", data, result, begun, ended)


def _bytes(text: str) -> bytes:
    return _HEX.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")


@contextmanager
def traced(pid: int, trace: Path, *more: str) -> Iterator[None]:
    """Trace all threads of a process, and what they start, into a file."""
    command = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={TRACED}", *more]
    errors = trace.with_suffix(".errors")
    with errors.open("wb") as file:
        strace = subprocess.Popen([*command, "-o", str(trace), "-p", str(pid)], stderr=file)
    try:
        wait_until(lambda: _all_traced(pid, strace), 60, f"tracer of {pid}; strace says {errors.read_text()!r}")
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(60)


def _all_traced(pid: int, strace: "subprocess.Popen[bytes]") -> bool:
    assert strace.poll() is None, f"strace ended with {strace.returncode}"
    try:
        states = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):  # a thread ended between the two: look again
        return False
    return all(f"TracerPid:\t{strace.pid}\n" in state for state in states)


def answer_to(calls: Sequence[Call], asked: bytes) -> Call:
    """The first thing that was sent over the connection by which the bytes came."""
    question = next(call for call in calls if call.name in RECEIVES and asked in call.data)
    return next(
        call for call in calls if call.name in SENDS and call.file == question.file and call.begun > question.ended
    )


def kept_before(calls: Sequence[Call], data: bytes, answer: Call) -> str:
    """Say why it is not certain that the bytes were on disk before the answer left; "" when it is."""
    writes = [call for call in calls if call.name == "pwrite64" and data in call.data and call.result > 0]
    if not writes:
        return f"{data!r} was never written"
    first = writes[0]
    if first.ended > answer.begun:
        return f"{data!r} was written to {first.file} after {answer.data[:60]!r} was sent"
    for call in calls:
        synced = call.name in {"fdatasync", "fsync"} and call.file == first.file and call.result == 0
        if synced and first.ended < call.begun and call.ended < answer.begun:
            return ""
    return f"{data!r} was written to {first.file} and not synced before {answer.data[:60]!r} was sent"
