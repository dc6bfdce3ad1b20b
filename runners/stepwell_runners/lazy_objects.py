"""Objects of a repository, read through one `git cat-file` that stays: many at a time, so that a file costs little."""

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


class MissingObject(Exception):
    """The repository does not have an object, or not of the kind it should be."""


class Objects:
    """Not for several threads, but for `spool`."""

    def __init__(self, repository: Path, environment: Mapping[str, str], scratch: Path) -> None:
        self._git = ("git", "--git-dir", str(repository), "cat-file")
        self._environment = dict(environment)
        self._scratch = scratch
        self._asking: IO[bytes]
        self._told: IO[bytes]

    def start(self) -> None:
        """Start what reads them."""
        process = subprocess.Popen(
            [*self._git, "--batch-command", "--buffer"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None and process.stdout is not None
        self._asking, self._told = process.stdin, process.stdout

    def sizes(self, ids: Sequence[str], kind: str = "blob") -> list[int]:
        """Return sizes in bytes. Raises MissingObject."""
        self._ask("info", ids)
        return self._each([self._header(id_) for id_ in ids], kind)

    def contents(self, ids: Sequence[str]) -> list[bytes]:
        """Return whole blobs; the caller knows that they are small. Raises MissingObject."""
        self._ask("contents", ids)
        found: list[bytes] = []
        headers = []
        for id_ in ids:
            header = self._header(id_)
            headers.append(header)
            if header is not None:
                found.append(self._told.read(header[1]))
                self._told.read(1)
        self._each(headers, "blob")
        return found

    def tree(self, id_: str, limit: int) -> bytes | None:
        """Return a tree object; None when it has more bytes. Raises MissingObject."""
        self._ask("contents", [id_])
        header = self._header(id_)
        content = None
        if header is not None:
            left = header[1] + 1
            if header[1] <= limit:
                content, left = self._told.read(header[1]), 1
            while left:
                left -= len(self._told.read(min(left, 1 << 20)))
        self._each([header], "tree")
        return content

    def spool(self, id_: str) -> IO[bytes]:
        """Write a large blob to a file without a name. Raises MissingObject, OSError."""
        file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - the caller's
        done = subprocess.run(
            [*self._git, "blob", id_], env=self._environment, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            file.close()
            raise MissingObject(id_)
        return file

    def _ask(self, command: str, ids: Sequence[str]) -> None:
        """With --buffer git reads up to the flush before it says a word: neither side waits for the other."""
        self._asking.write("".join([*(f"{command} {id_}\n" for id_ in ids), "flush\n"]).encode())
        self._asking.flush()

    def _header(self, id_: str) -> tuple[str, int] | None:
        """Return kind and size; None for an object that is not there."""
        line = self._told.readline()
        if not line:
            raise BrokenPipeError("git cat-file has ended")
        parts = line.decode("ascii", "replace").split()
        if len(parts) != 3 or parts[0] != id_:
            return None
        return parts[1], int(parts[2])

    @staticmethod
    def _each(headers: Sequence[tuple[str, int] | None], kind: str) -> list[int]:
        """Check after the last one is read, or what is left would be taken for the next answer."""
        sizes = []
        for header in headers:
            if header is None or header[0] != kind:
                raise MissingObject(f"an object is no {kind}")
            sizes.append(header[1])
        return sizes
