"""What git says to a pusher whose objects it refuses, explained: one line more on what to do.

git tells in the terms of its own checks ("hasDotgit") or of the process that failed ("index-pack abnormal exit"). Its
answer is a row of packets; in front of the first that reports the push's end come packets with lines of ours. All
others pass through as they are. By then the refused objects are gone, so a line names the object, and how the pusher,
who has it, finds its path.
"""

import re

from stepwell.repos.pktline import encode

_KEPT = 16_384  # bytes of git's words
_REPORT, _WORDS = b"\1", b"\2"
_CHECKED = re.compile(rb"object ([0-9a-f]{40}): (\w+): ([^\n\r]{0,200})")
_NO_MEMORY = re.compile(rb"[Oo]ut of memory|mmap failed|unable to (?:malloc|create thread)|[Cc]annot allocate memory")
_PATHS = frozenset({"hasDot", "hasDotdot", "hasDotgit", "fullPathname", "emptyName"})
_SUBMODULES = re.compile(r"gitmodules|gitattributes|gitignore|mailmap")


class Explained:
    """Passes git's answer to one push on. `limit` says in words what its processes may take, `together` with others."""

    def __init__(self, limit: str, together: str = "") -> None:
        self._limit = limit
        self._together = together
        self._rest = b""
        self._said = b""
        self._is_over = False  # or it is no row of packets

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the answer and return what of it can go on."""
        if self._is_over:
            return data
        self._rest += data
        out: list[bytes] = []
        while not self._is_over and (packet := self._next()):
            out.append(self._look(packet))
        return b"".join(out) + (self.rest() if self._is_over else b"")

    def rest(self) -> bytes:
        """Return what is left at the end."""
        rest, self._rest = self._rest, b""
        return rest

    def _next(self) -> bytes:
        """Take the next whole packet, if it is there."""
        try:
            size = max(4, int(self._rest[:4], 16)) if len(self._rest) >= 4 else 0
        except ValueError:
            self._is_over = True
            return b""
        if not size or len(self._rest) < size:
            return b""
        packet, self._rest = self._rest[:size], self._rest[size:]
        return packet

    def _look(self, packet: bytes) -> bytes:
        if packet[4:5] == _WORDS:
            self._said = (self._said + packet[5:])[-_KEPT:]
        elif packet[4:5] == _REPORT:
            self._is_over = True
            lines = explain(self._said, packet[5:], self._limit, self._together)
            return b"".join(encode(_WORDS + f"stepwell: {line}\n".encode()) for line in lines) + packet
        return packet


def explain(said: bytes, report: bytes, limit: str, together: str = "") -> list[str]:
    """Return lines on what to do about a push that git could not take in; none about any other."""
    if b"unpack ok" in report:
        return []
    if found := _CHECKED.search(said):
        return _checked(*(part.decode("utf-8", "replace") for part in found.groups()))
    if _NO_MEMORY.search(said):
        return [
            f"taking this push in needs more memory than git is given here: {limit}. Push in smaller parts, keep large "
            "files in Git LFS or elsewhere, or ask the operator, who sets the limit: STEPWELL_GIT_MEMORY_MB."
        ]
    if b"exceeds maximum allowed size" in said:
        return ["push in smaller parts: git push origin COMMIT:refs/heads/BRANCH, the oldest commits first."]
    if b"abnormal exit" in report:
        return [
            f"git was ended while it took this push in; it is given {limit}{together}. Push in smaller parts, or again "
            "in a minute."
        ]
    return []


def _checked(id_: str, check: str, words: str) -> list[str]:
    find = f"find where it stands: git rev-list --objects --all | grep {id_}; and what is in it: git ls-tree {id_}"
    again = "Then push again."
    if check in _PATHS:
        return [
            f"directory {id_[:10]} has an entry that would be written into .git, or outside of the tree, where it is "
            f"checked out ({words}); every spelling of .git counts that some file system takes for it.",
            f"{find}.",
            "take that path out of every commit that has it, with git rebase -i, or git filter-repo --invert-paths "
            f"--path PATH. {again}",
        ]
    if _SUBMODULES.search(check):
        return [
            f"file {id_[:10]} is refused as git's own settings ({words}). Find its commit: git log --all "
            f"--find-object={id_}. Correct it there, with git rebase -i. {again}"
        ]
    return [
        f"object {id_[:10]} is not as git writes one ({words}); a tool other than git has made it. See what it is: git "
        f"show {id_}. Write its commits anew, with git filter-repo or git rebase -i. {again}"
    ]
