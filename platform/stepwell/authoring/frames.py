"""A long journal on its way to an isolate: frames of columns, in Python's own form.

The host has to parse the JSON of a journal in any case; who replays, for whom everything else waits, has its objects
again in a seventh of the time. Of a function that passed at its first try, which most entries tell of, a replay needs
its fingerprint and its value: [seq, at, PASSED, key, fingerprint, value] stands for the whole entry.
"""

import marshal
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

PASSED = "passed"
_FORM = 2
"""Of marshal; the later ones look for what is there twice, which takes them longer than it saves."""


def plain(data: Any) -> tuple[Any, Any] | None:
    """Give fingerprint and value if that is all that a `done` has to say to a replay."""
    inline = data.get("inline")
    if inline and data["ok"] and "value" in data and inline.get("kind") == "do":
        return inline.get("fingerprint"), data["value"]
    return None


def passed(fingerprint: Any, value: Any) -> dict[str, Any]:
    """Give what an entry says that PASSED stands for."""
    return {"ok": True, "value": value, "inline": {"kind": "do", "fingerprint": fingerprint}}


def frame_of(columns: Iterable[Sequence[Any]]) -> bytes:
    """Write numbers, times and the other columns of entries: a line with a number, then so many bytes."""
    seqs, ats, *others = columns
    told: Any = (array("q", seqs).tobytes(), array("d", ats).tobytes(), *others)
    data = marshal.dumps(told, _FORM)
    return b"#%d\n%b" % (len(data), data)


def entries_of(frame: bytes) -> list[Any]:
    """Read what stands in a frame behind its first line; bytes that follow it are not looked at."""
    seqs, ats, *others = marshal.loads(frame)  # noqa: S302 - from the host
    return list(zip(array("q", seqs), array("d", ats), *others, strict=True))
