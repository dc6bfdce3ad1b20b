"""What a commit names and does not hold: submodules, and files kept by Git LFS. Said once in a run, not once a file.

Both leave something in the workspace that looks like a mistake of Stepwell's: an empty directory, and a text of three
lines where an image should be. Only the top's .gitmodules and .gitattributes are looked at, as people write them.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache

from stepwell.errors import Invalid, NotFound
from stepwell.repos.process import bounded_git
from stepwell.repos.reader import Reader
from stepwell.repos.repositories import Repositories

SHOWN = 3
_MOST_LISTED = 8 << 20  # bytes of a list of files
_MOST_READ = 200  # files
_MOST_TEXT = 256 << 10
_MOST_RUNS = 10_000
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_SIZES = range(len(_POINTER), 1024)  # bytes of a pointer
_MOST_PATTERNS = 100


class Absences:
    """Tells each run once. Methods block."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._found = lru_cache(maxsize=256)(self._look)
        self._told: OrderedDict[str, None] = OrderedDict()

    def tell(self, run: str, repository: str, commit: str, note: Callable[[str], None]) -> None:
        """Note what is absent from the files of a run's commit, unless the run was told."""
        if run in self._told:
            return
        self._told[run] = None
        if len(self._told) > _MOST_RUNS:
            self._told.popitem(last=False)
        try:
            tree = self._repositories.reader(repository).tree_of(commit) or ""
            for text in self._found(repository, tree, commit):
                note(text)
        except (Invalid, NotFound):  # what is wrong with the commit its checkout says
            return

    def _look(self, repository: str, tree: str, commit: str) -> tuple[str, ...]:
        reader = self._repositories.reader(repository)
        found = (_submodules(reader, tree, commit), _pointers(reader, tree, commit, self._files(repository, tree)))
        return tuple(text for text in found if text)

    def _files(self, repository: str, tree: str) -> Iterator[tuple[str, int]]:
        """List files with their sizes; read only when asked for."""
        command = ["ls-tree", "-r", "-l", "-z", tree]
        listing, _ = bounded_git(self._repositories.path(repository), command, _MOST_LISTED)
        for line in listing.split(b"\0"):
            facts, _, path = line.partition(b"\t")
            if facts.startswith(b"100") and (size := facts.split()[-1]).isdigit():
                yield path.decode("utf-8", "replace"), int(size)


def _text(reader: Reader, tree: str, name: str) -> str:
    return (reader.file_of_tree(tree, name, limit=_MOST_TEXT) or b"").decode("utf-8", "replace")


def paths_of(modules: str) -> Iterator[str]:
    """Give the paths that a .gitmodules names. Line by line: a stranger's text could keep a pattern busy for hours."""
    for line in modules.split("\n"):
        name, _, path = line.partition("=")
        if name.strip() == "path" and path.strip():
            yield path.strip()


def patterns_of(attributes: str) -> Iterator[str]:
    """Give the patterns of a .gitattributes whose files are kept by LFS."""
    for line in attributes.split("\n"):
        pattern, *given = line.split() or [""]
        if "filter=lfs" in given and not pattern.startswith(("#", '"')):
            yield pattern


def _submodules(reader: Reader, tree: str, commit: str) -> str:
    """Say which submodules are not checked out; "" when there is none."""
    found = []
    entries_of = lru_cache(4)(reader.list_folder)
    for path in list(paths_of(_text(reader, tree, ".gitmodules")))[:_MOST_READ]:
        folder, _, name = path.strip("/").rpartition("/")
        try:
            entries = entries_of(commit, folder)
        except NotFound:
            continue
        found += [path for entry in entries if entry.name == name and entry.kind == "submodule"]
    if not found:
        return ""
    what = "a submodule" if len(found) == 1 else f"{len(found)} submodules"
    return (
        f"The commit has {what} ({_some(found)}), not checked out: the directory is empty. "
        "If steps need it, get it with git submodule update --init in a step with network=True."
    )


def _pointers(reader: Reader, tree: str, commit: str, files: Iterator[tuple[str, int]]) -> str:
    """Say that there are pointers of LFS instead of files; "" when there are none."""
    patterns = list(patterns_of(_text(reader, tree, ".gitattributes")))[:_MOST_PATTERNS]
    if not patterns:
        return ""
    likely = [path for path, size in files if size in _SIZES and any(_matches(path, one) for one in patterns)]
    read = likely[:_MOST_READ]
    found = [path for path in read if reader.blob(commit, path, limit=_SIZES.stop).startswith(_POINTER)]
    if not found:
        return ""
    number = f"{len(found):,}" if len(likely) == len(read) else f"at least {len(found):,}"
    what = "a file" if len(found) == 1 else f"{number} files"
    return (
        f"The commit has {what} ({_some(found)}) in Git LFS, not fetched: there is a pointer instead of the content. "
        "If steps need it, get it with git lfs pull in a step with network=True."
    )


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern of .gitattributes names a path; without a slash it is for names in any folder."""
    anchored = "/" in pattern.strip("/")
    return fnmatchcase(path if anchored else path.rpartition("/")[2], pattern.lstrip("/"))


def _some(paths: list[str]) -> str:
    shown = ", ".join(repr(path[:100]) for path in paths[:SHOWN])
    return shown + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")
