"""Objects from a directory that a stranger has written: taken in as a push would be, by git, from data alone.

No git of ours ever opens that directory: its config, hooks, alternates and indexes are never read. Loose objects are
inflated here, within bounds, and written into one pack; packs are read as a stream. `git index-pack` computes each id
from the content. From that quarantine a pack is made of what the new refs reach and the repository does not have, and
checked as a push is (fsck, every link): what is missing or belongs to another repository is found there.

Rejected: running git in an isolate on that directory, one more boot for each commit, and none in containers; copying
the files and trusting their names.
"""

import hashlib
import os
import signal
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stepwell.errors import Invalid
from stepwell.repos.captured import BRANCHES, TAGS, alternates
from stepwell.repos.common_memory import COMMON
from stepwell.repos.process import bound, environment

MOST_BYTES = 256 << 20  # as they lie on disk
MOST_INFLATED = 1 << 30
MOST_OBJECTS = 200_000
_KINDS = {b"commit": 1, b"tree": 2, b"blob": 3, b"tag": 4}
_PIECE = 1 << 16
_LONGEST_LINE = 256  # bytes
_HEAD = 64  # bytes: no header of a loose object is longer
_SECONDS = 120.0
_MEMORY = 1 << 30  # bytes of each git: a delta of some bytes can ask for any
_SETTINGS = {"core.fsync": "all", "core.bigFileThreshold": "16m"}  # larger files are streamed, not held in memory
_OWN = (BRANCHES, TAGS)


class Incomplete(Invalid):
    """Some of what an object leads to is not there."""


class _Failed(Invalid):
    """git ended with another code than 0."""


Contents = Iterator[tuple[str, bytes]]
"""Objects in pieces, each with the object's id."""
Place = Callable[[str], tuple[str, str]]
"""Says of the id of a new object in which new commit, and at which path, it stands; "" for what is not known."""


@dataclass(frozen=True)
class Wanted:
    """Refs with the ids that they shall have, what the repository has already, and where it has it."""

    refs: Sequence[tuple[str, str]]
    known: Sequence[str]
    repository: Path
    objects: Sequence[Path]


def take_in(loose: Iterable[int], packs: Iterable[int], wanted: Wanted, scratch: Path, target: Path) -> None:
    """Keep what `wanted` needs of these open files as a pack in `target`, if it needs any. Blocks.

    The files are read to their end and closed. Raises Invalid when objects are damaged, missing, refused or too many.
    """
    quarantine = scratch / "objects"
    quarantine.mkdir(parents=True)
    git = _Git(wanted.repository, quarantine, wanted.objects)
    with (scratch / "loose.pack").open("w+b") as pack:
        if write_pack(loose, pack):
            git.index(pack)
    for number in packs:
        with os.fdopen(number, "rb") as given:
            git.index(given)
    with (scratch / "wanted.pack").open("w+b") as pack:
        if git.pack([id_ for _, id_ in wanted.refs], wanted.known, pack):
            target.mkdir(parents=True)
            _Git(wanted.repository, target, wanted.objects).index(pack, strict=True)
    git.check_kinds(wanted.refs)


def bring(
    repository: Path, id_: str, parts: Sequence[Path], scratch: Path, look: Callable[[Contents, Place], None]
) -> None:
    """Give a repository what it lacks of a commit or tag, out of verified parts. On disk when this returns. Blocks.

    `look` is handed all new content first, in pieces, and may refuse it. Raises Incomplete, Invalid.
    """
    objects = [part / "objects" for part in parts if (part / "objects").is_dir()]
    whole = _Git(repository, repository / "objects", objects)
    known = whole.run(["for-each-ref", "--format=%(objectname)", *_OWN], b"").decode().split()
    with (scratch / "wanted.pack").open("w+b") as pack:
        try:
            if not whole.pack([id_], known, pack):
                return
        except _Failed as error:  # these parts were whole when they were kept
            raise Incomplete(f"Some of what {id_[:10]} leads to is not there.") from error
        quarantine = scratch / "objects"
        quarantine.mkdir()
        _Git(repository, quarantine, [repository / "objects"]).index(pack, strict=True)
        with _Git(repository, quarantine, []).contents() as contents:
            look(contents, lambda object_: whole.place(object_, id_, known))
        os.lseek(pack.fileno(), 0, os.SEEK_SET)
        _Git(repository, repository / "objects", []).index(pack, strict=True)


class _Git:
    """git with its new objects in a directory of ours, and others beside it."""

    def __init__(self, repository: Path, objects: Path, others: Sequence[Path]) -> None:
        extra = {
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates(others),
            "GIT_NO_REPLACE_OBJECTS": "1",
        }
        self._environment = environment(_SETTINGS, extra=extra)
        self._command = ("git", "--git-dir", str(repository))

    def index(self, pack: IO[bytes], *, strict: bool = False) -> None:
        """Take a pack in; `strict` has every object and link checked."""
        options = ["--strict"] if strict else []
        self.run(["index-pack", "--stdin", f"--max-input-size={MOST_INFLATED}", *options], pack)

    def pack(self, ids: Sequence[str], known: Sequence[str], pack: IO[bytes]) -> int:
        """Write what these ids reach beyond the known ones into a file, to be read from its start; how many it is."""
        asked = "".join(f"{id_}\n" for id_ in (*ids, "--not", *known))
        self.run(["pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset"], asked.encode(), out=pack)
        (count,) = struct.unpack(">I", os.pread(pack.fileno(), 4, 8))
        os.lseek(pack.fileno(), 0, os.SEEK_SET)
        return int(count)

    def check_kinds(self, refs: Sequence[tuple[str, str]]) -> None:
        """Refuse a branch that is no commit, and a tag that is neither commit nor tag."""
        ids = "".join(f"{id_}\n" for _, id_ in refs)
        told = self.run(["cat-file", "--batch-check=%(objecttype)"], ids.encode()).decode().splitlines()
        for (ref, id_), kind in zip(refs, told, strict=True):
            if kind != "commit" and not (kind == "tag" and ref.startswith(TAGS)):
                raise Invalid(f"The step set {ref!r} to {id_[:10]}, which is no commit ({kind}). Set it to a commit.")

    def place(self, object_: str, id_: str, known: Sequence[str]) -> tuple[str, str]:
        """Return the commit below `id_` that brought an object, and the path of that object, "" for the unknown."""
        if self.run(["cat-file", "-t", object_], b"") == b"commit\n":
            return object_, ""
        asked = "".join(f"{one}\n" for one in (id_, *(f"^{other}" for other in known))).encode()
        listed = (line.partition(b" ") for line in self.run(["rev-list", "--objects", "--stdin"], asked).splitlines())
        path = next((os.fsdecode(path) for one, _, path in listed if one.decode() == object_), "")
        brought = self.run(["log", "--reverse", "--format=%H", f"--find-object={object_}", "--stdin"], asked).split()
        return (brought[0].decode() if brought else ""), path

    @contextmanager
    def contents(self) -> Iterator[Contents]:
        """Give all objects of the directory, in pieces; reading raises Invalid when git does not give all."""
        asked = [*self._command, "cat-file", "--batch", "--batch-all-objects", "--buffer"]
        with subprocess.Popen(
            asked, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            bound(process.pid, _MEMORY, int(_SECONDS))
            COMMON.watch(process.pid)
            out = process.stdout
            assert out is not None
            try:
                yield _pieces(process, out)
            finally:
                process.kill()

    def run(self, arguments: Sequence[str], given: bytes | IO[bytes], out: IO[bytes] | None = None) -> bytes:
        """Run git on this input. Raises Invalid with its words."""
        data, file = (given, None) if isinstance(given, bytes) else (None, given)
        with subprocess.Popen(
            [*self._command, *arguments], env=self._environment, stdin=file or subprocess.PIPE,
            stdout=out or subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            bound(process.pid, _MEMORY, int(_SECONDS))
            COMMON.watch(process.pid)
            try:
                told, words = process.communicate(data, timeout=_SECONDS)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise Invalid("Looking at what the step committed took too long. Commit less.") from error
        if process.returncode != 0:
            reason = words.decode("utf-8", "replace").strip()[-1000:]
            if process.returncode == -signal.SIGKILL:
                reason = "it was ended, for lack of memory most likely: commit less, or restart from this step"
            raise _Failed(f"What the step committed cannot be kept: git {arguments[0]} says: {reason or 'no message'}")
        return told or b""


def _pieces(process: "subprocess.Popen[bytes]", out: IO[bytes]) -> Contents:
    """Take apart what git gives: for each object its id, kind and size in a line, the content, and a line's end."""
    while line := out.readline(_LONGEST_LINE):
        id_, *more = line.decode("ascii", "replace").split()
        if len(more) != 2 or not more[1].isdigit():
            break
        left = int(more[1])
        while left and (piece := out.read(min(left, _PIECE))):
            left -= len(piece)
            yield id_, piece
        if left or out.read(1) != b"\n":
            break
    else:
        if process.wait() == 0:
            return
    raise Invalid(
        "What the step committed cannot be read back to its end. Run the step again."
    )  # unread: not looked at


def write_pack(loose: Iterable[int], pack: IO[bytes]) -> int:
    """Write loose objects, given as open files, as one pack; return how many. Raises Invalid."""
    pack.write(struct.pack(">4sII", b"PACK", 2, 0))
    count, left = 0, MOST_INFLATED
    for number in loose:
        with os.fdopen(number, "rb") as source:
            left -= _add(source, pack, left)
        count += 1
    pack.seek(8)
    pack.write(struct.pack(">I", count))
    pack.seek(0)
    digest = hashlib.sha1(usedforsecurity=False)
    while piece := pack.read(_PIECE):
        digest.update(piece)
    pack.write(digest.digest())
    pack.flush()
    os.lseek(pack.fileno(), 0, os.SEEK_SET)  # a child reads from here
    return count


def _add(source: IO[bytes], pack: IO[bytes], most: int) -> int:
    """Write one object; return its size."""
    pieces = _inflated(source)
    try:
        first = next(pieces, b"")
        kind, size, rest = _header(first)
        if size > most:
            raise Invalid(f"What the step committed is too much: at most {MOST_INFLATED >> 30} GiB are kept of a step.")
        pack.write(_entry(kind, size))
        packed, seen = zlib.compressobj(1), len(rest)
        pack.write(packed.compress(rest))
        for piece in pieces:
            seen += len(piece)
            if seen > size:
                break
            pack.write(packed.compress(piece))
        pack.write(packed.flush())
    except (zlib.error, ValueError) as error:
        raise Invalid("What the step committed cannot be kept: an object in .git is damaged.") from error
    if seen != size:
        raise Invalid("What the step committed cannot be kept: an object in .git is damaged.")
    return size


def _inflated(source: IO[bytes]) -> Iterator[bytes]:
    """Give the content in pieces; however well it is packed, none is large."""
    inflating = zlib.decompressobj()
    data = source.read(_PIECE)
    while data and not inflating.eof:
        yield inflating.decompress(data, _PIECE)
        data = inflating.unconsumed_tail or source.read(_PIECE)
    yield inflating.flush()


def _header(data: bytes) -> tuple[int, int, bytes]:
    head, end, rest = data.partition(b"\0")
    kind, _, digits = head.partition(b" ")
    if not end or len(head) > _HEAD or kind not in _KINDS or not digits.isdigit():
        raise ValueError(head[:_HEAD])
    return _KINDS[kind], int(digits), rest


def _entry(kind: int, size: int) -> bytes:
    """Return how a pack announces an object."""
    first, size = (kind << 4) | (size & 15), size >> 4
    out = bytearray()
    while size:
        out.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    out.append(first)
    return bytes(out)
