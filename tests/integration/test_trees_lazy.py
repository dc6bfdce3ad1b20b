"""Trees that are read before they are checked out: what is seen, what is waited for, and what is left."""

import dataclasses
import os
import signal
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from logged import Log, attempt

from stepwell.engine.seams import Code, Outcome, Prepared
from stepwell.errors import Invalid, TryLater
from stepwell.repos.maintenance import maintain
from stepwell.repos.process import environment
from stepwell_runners import lazy as lazy_module
from stepwell_runners.checkouts import GitCheckout
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.lazy import Lazy
from stepwell_runners.trees import Trees
from stepwell_runners.whole_trees import settle

pytestmark = pytest.mark.root
WHO = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
TREE = dict[str, tuple[str, bytes] | Any]
LARGE = b"0123456789abcdef" * (3 << 16)


class HeldBack(GitCheckout):
    """Checks nothing out until it is let."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.let = threading.Event()

    def write(self, repo: str, tree: str, target: Path, index: Path, times: int | Path | None = None) -> int:
        assert self.let.wait(60)
        return super().write(repo, tree, target, index, times)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repos" / "r1.git"
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    return path


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldBack]:
    monkeypatch.setattr("stepwell_runners.checkouts.LEAST_LAZY", 1)
    checkout = HeldBack(tmp_path)
    yield checkout
    checkout.let.set()


@pytest.fixture
def trees(tmp_path: Path, checkout: HeldBack, lazy: Lazy) -> Trees:
    return Trees(tmp_path, checkout, settle, lazy)


def git(path: Path, *arguments: str | Path, text: bytes = b"") -> str:
    env = {**environment(), **WHO, "GIT_CONFIG_COUNT": "0"}
    done = subprocess.run(["git", "--git-dir", path, *arguments], env=env, input=text, capture_output=True, check=True)
    return done.stdout.decode().strip()


def write_tree(path: Path, tree: TREE) -> str:
    """Write a tree without git's own checks of names."""
    raw = b""
    for name, what in tree.items():
        if isinstance(what, dict):
            mode, id_ = "40000", write_tree(path, what)
        elif what[0] == "160000":
            mode, id_ = what[0], what[1].decode()
        else:
            mode, id_ = what[0], git(path, "hash-object", "-w", "--stdin", text=what[1])
        raw += mode.encode() + b" " + os.fsencode(name) + b"\0" + bytes.fromhex(id_)
    return git(path, "hash-object", "-w", "--literally", "-t", "tree", "--stdin", text=raw)


def commit(path: Path, tree: TREE) -> str:
    return git(path, "commit-tree", write_tree(path, tree), "-m", "c")


def seen(place: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, time, size and content of everything."""
    found = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            is_folder, is_link = stat.S_ISDIR(status.st_mode), stat.S_ISLNK(status.st_mode)
            content = b"" if is_folder else os.fsencode(path.readlink()) if is_link else path.read_bytes()
            times = 0 if is_folder else int(status.st_mtime)
            size = 0 if is_folder else status.st_size
            found[str(path.relative_to(place))] = (status.st_mode, times, size, content)
    return found


FRIENDLY: TREE = {
    "a.txt": ("100644", b"text\n"),
    "dir": {"empty": ("100644", b""), "run": ("100755", b"#!/bin/sh\n"), "deep": {"er": {"x": ("100644", b"x")}}},
    "absolute": ("120000", b"/etc/passwd"),
    "dangling": ("120000", b"no/where"),
    "large": ("100644", LARGE),
    "many": {f"f{number:03}": ("100644", b"%d\n" % number) for number in range(100)},
    "module": ("160000", b"1" * 40),
    "odd \udcff\n'": ("100644", b"odd"),
    "windows": {
        ".gitattributes": ("100644", b"*.bat eol=crlf\n"), "a.bat": ("100644", b"x\n"),
        "in": {"b.bat": ("100644", b"\n")},
    },
}  # fmt: skip


def test_a_tree_is_read_before_it_is_checked_out_and_stays_the_same(
    repository: Path, trees: Trees, checkout: HeldBack
) -> None:
    reference = f"r1:{commit(repository, FRIENDLY)}"
    with trees.held(reference) as place:
        (files,) = trees.shown(place)
        assert files != place and not place.exists()
        assert (files / "a.txt").read_text() == "text\n" and (files / "large").read_bytes() == LARGE
        assert not (files / "missing").exists() and str((files / "absolute").readlink()) == "/etc/passwd"
        assert sorted(path.name for path in files.iterdir()) == sorted(FRIENDLY)
        for number in range(100):
            assert (files / f"many/f{number:03}").read_bytes() == b"%d\n" % number
        with pytest.raises(OSError, match="Read-only"):
            (files / "a.txt").write_text("other")
        checkout.let.set()
        early = seen(files)  # of `windows` only what git has written is read
        assert early["windows/a.bat"][3] == b"x\r\n" and early["windows/in/b.bat"][3] == b"\r\n"
        assert trees.resolve(reference) == place and early == seen(place)
    for filling in [thread for thread in threading.enumerate() if thread.name == "tree-fill"]:
        filling.join()
    assert trees.shown(place) == (place,) and not len(trees._servings)


def test_a_tree_stays_readable_while_its_packs_and_loose_objects_vanish(
    repository: Path, trees: Trees, checkout: HeldBack
) -> None:
    """What git has read it has open; what it has not is in a pack that came later."""
    halves = {half: {f"f{n}": ("100644", f"{half} {n}\n".encode()) for n in range(100)} for half in ("one", "two")}
    made = commit(repository, {"one": halves["one"]})
    git(repository, "update-ref", "refs/heads/main", made)
    git(repository, "repack", "-q", "-d")
    made = commit(repository, {**halves, "large": ("100644", LARGE)})
    git(repository, "update-ref", "refs/heads/main", made)
    objects = repository / "objects"
    with trees.held(f"r1:{made}") as place:
        (files,) = trees.shown(place)
        assert files != place and (files / "one/f0").read_bytes() == b"one 0\n"
        for number in range(1, 100):
            if number % 25 == 1:
                before = set(objects.rglob("*.pack"))
                git(repository, "hash-object", "-w", "--stdin", text=b"new %d" % number)
                maintain(repository)
                git(repository, "repack", "-q", "-a", "-k", "-d")  # maintenance itself leaves large packs in place
                assert before - set(objects.rglob("*.pack"))
                assert not list(objects.glob("[0-9a-f][0-9a-f]/*"))
            for half in halves:
                assert (files / half / f"f{number}").read_bytes() == f"{half} {number}\n".encode()
        assert (files / "large").read_bytes() == LARGE
        checkout.let.set()
        assert trees.resolve(f"r1:{made}") == place and (place / "two/f99").read_bytes() == b"two 99\n"


def test_a_hostile_tree_is_never_seen_and_ends_in_gits_refusal(
    repository: Path, trees: Trees, checkout: HeldBack
) -> None:
    for name in (".git", ".GIT", "git~1", ".git ", "..", ".g\u200cit", ".git::$INDEX_ALLOCATION"):
        checkout.let.clear()
        inner: TREE = {"b": ("100644", b"b"), name: {"c": ("100644", b"c")}}
        made = commit(repository, {"a": ("100644", b"a"), "in": inner})
        with trees.held(f"r1:{made}") as place:
            (files,) = trees.shown(place)
            assert (files / "a").read_text() == "a"
            checkout.let.set()
            with pytest.raises(OSError, match="Input/output"):
                next((files / "in").iterdir())
            with pytest.raises(OSError, match="Input/output"):
                (files / "in" / "b").read_bytes()
            with pytest.raises(Invalid, match="cannot be checked out"):
                trees.check(place)
        with pytest.raises(Invalid, match="cannot be checked out"), trees.held(f"r1:{made}"):
            pass


def test_a_tree_that_git_converts_is_waited_for(repository: Path, trees: Trees, checkout: HeldBack) -> None:
    checkout.let.set()
    tree: TREE = {".gitattributes": ("100644", b"*.bat eol=crlf\n"), "a.bat": ("100644", b"x\n")}
    with trees.held(f"r1:{commit(repository, tree)}") as place:
        assert trees.shown(place) == (place,) and (place / "a.bat").read_bytes() == b"x\r\n"


def test_a_server_that_dies_loses_the_attempt_and_its_mounts_are_removed(
    repository: Path, trees: Trees, checkout: HeldBack, lazy: Lazy, tmp_path: Path
) -> None:
    with trees.held(f"r1:{commit(repository, FRIENDLY)}") as place:
        (files,) = trees.shown(place)
        assert (files / "a.txt").exists() and lazy._process is not None
        os.kill(lazy._process.pid, signal.SIGKILL)
        lazy._process.wait()
        serving = trees._servings.of(place)
        while serving and serving.served.is_alive:
            pass  # its children end with it
        with pytest.raises(TryLater, match="has died"):
            trees.check(place)
        assert str(files.parent) in Path("/proc/self/mountinfo").read_text()
        Lazy(tmp_path).clean()  # as the next server does at its start
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
        checkout.let.set()


def test_nothing_stays_mounted_when_the_server_is_killed(
    repository: Path, trees: Trees, checkout: HeldBack, lazy: Lazy, tmp_path: Path
) -> None:
    with trees.held(f"r1:{commit(repository, FRIENDLY)}") as place:
        assert (trees.shown(place)[0] / "a.txt").exists() and lazy._process is not None and lazy._control is not None
        lazy._control.close()  # as its death does
        assert lazy._process.wait(60) == 0
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
        checkout.let.set()


def test_trees_are_not_served_in_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("container", "podman")
    lazy = Lazy(tmp_path)
    lazy.start()
    assert lazy.ready() == "Stepwell runs in a container"
    monkeypatch.delenv("container")
    monkeypatch.setattr(lazy_module, "_FIRST_PIDS", "pid:[1]")
    lazy.start()
    assert lazy.ready() == "Stepwell runs in a container" and not lazy.folder.exists()


@pytest.fixture
async def executor(tmp_path: Path, trees: Trees) -> AsyncIterator[LocalExecutor]:
    isolates = ZygoteIsolates(tmp_path, trees.resolve, trees=trees)
    await isolates.start()
    if not isolates.overlays:
        pytest.skip("this host does not give the wall")
    yield LocalExecutor.at(tmp_path, isolates, trees)
    await isolates.stop()


async def test_a_step_runs_before_its_tree_is_checked_out(
    executor: LocalExecutor, repository: Path, checkout: HeldBack
) -> None:
    made = commit(repository, FRIENDLY)
    git(repository, "update-ref", "refs/heads/main", made)

    async def run(command: str, base: tuple[str, ...] = (), key: str = "step#1") -> tuple[Outcome, str]:
        asked = dataclasses.replace(attempt(command, base, key), code=Code("t", {}, "p", tree=f"r1:{made}"))
        log = Log()
        return await executor.execute(asked, Prepared(), log), log.data.decode()

    first, told = await run(
        "cat a.txt many/f007; echo more >> a.txt; rm -r dir; stat -c %U:%a many/f001 | sed s/.*://; "
        "git rev-parse HEAD; touch many/new; ls -A .git | grep -c index; git tag kept"
    )
    assert first.ok, (first, told)
    assert told.split() == ["text", "7", "644", made, "1"]
    assert not checkout.let.is_set() and first.layer
    layer = executor._workspaces.load(first.layer)
    assert sorted(layer.written) == ["a.txt", "many/new"] and "dir" in layer.deleted
    checkout.let.set()
    second, told = await run(
        "cat a.txt; git status --porcelain; cat windows/a.bat; git describe --tags", (first.layer,), "step#2"
    )
    assert second.ok, (second, told)
    assert told.startswith("text\nmore\n") and told.endswith("x\r\nkept\n")
    gone = {" D dir/deep/er/x", " D dir/empty", " D dir/run"}
    assert set(told.split("\n")[2:-3]) == {" M a.txt", "?? many/new", *gone}
