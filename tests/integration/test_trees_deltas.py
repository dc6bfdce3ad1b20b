"""Trees that lie as a delta over another: what is seen, what is left to git, and when they go."""

import dataclasses
import os
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tree
from dulwich.repo import Repo
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import Log, attempt

from stepwell.engine.seams import Code, IsolateSpec, Prepared
from stepwell.errors import Invalid
from stepwell.repos.process import environment
from stepwell_runners import deltas, git_index, tree_deltas
from stepwell_runners import trees as trees_module
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.layers import File, Folder, Link
from stepwell_runners.lazy import Lazy
from stepwell_runners.reduce import OnDisk, Stack
from stepwell_runners.trees import Trees
from stepwell_runners.whole_trees import settle

Files = dict[bytes, tuple[int, bytes]]  # path → mode and content; a tree without empty directories
FILE, PROGRAM, LINK, SUBMODULE = 0o100644, 0o100755, 0o120000, 0o160000


class Origin:
    """A repository, whose objects are written without a process each."""

    def __init__(self, state: Path) -> None:
        self.path = state / "repos" / "r1.git"
        self.path.mkdir(parents=True)
        self._repo = Repo.init_bare(str(self.path))

    def commit(self, files: Files) -> str:
        """Write a commit with these files; what it is known by."""
        made = Commit()
        made.tree = self._write(files)
        made.author = made.committer = b"t <t@example.org>"
        made.author_time = made.commit_time = 1_700_000_000
        made.author_timezone = made.commit_timezone = 0
        made.message = b"c"
        return f"r1:{self._add(made).decode()}"

    def _add(self, made: ShaFile) -> ObjectID:
        self._repo.object_store.add_object(made)
        return made.id

    def _write(self, files: Files) -> ObjectID:
        tree = Tree()
        folders: dict[bytes, Files] = {}
        for path, (mode, content) in files.items():
            name, _, inner = path.partition(b"/")
            if inner:
                folders.setdefault(name, {})[inner] = mode, content
            elif mode == SUBMODULE:
                tree.add(name, mode, ObjectID(content))
            else:
                tree.add(name, mode, self._add(Blob.from_string(content)))
        for name, below in folders.items():
            tree.add(name, 0o40000, self._write(below))
        return self._add(tree)

    def git(self, *arguments: str | Path, index: Path) -> str:
        """Run git on an index."""
        env = environment({"core.bare": "false"}, extra={"GIT_INDEX_FILE": str(index)})
        done = subprocess.run(["git", "--git-dir", self.path, *arguments], env=env, capture_output=True, check=True)
        return done.stdout.decode("utf-8", "surrogateescape")


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path, sync=settle)


def told(lowers: tuple[Path, ...]) -> Files:
    """Return what directories show one over the other; empty directories as such."""
    stack, found, waiting = Stack(lowers), dict[bytes, tuple[int, bytes]](), [""]
    while waiting:
        folder = waiting.pop()
        names = stack.names(folder)
        if folder and not names:
            found[os.fsencode(folder)] = 0o40000, b""
        for name in names:
            path = f"{folder}/{name}".lstrip("/")
            node = stack.node(path)
            if isinstance(node, Folder):
                waiting.append(path)
            elif isinstance(node, Link):
                found[os.fsencode(path)] = LINK, os.fsencode(node.target)
            elif isinstance(node, File) and isinstance(node.content, OnDisk):
                found[os.fsencode(path)] = stat.S_IFREG | node.mode, Path(node.content.path).read_bytes()
    return found


def listed(origin: Origin, index: Path, place: Path) -> tuple[list[str], list[str]]:
    """Return what an index holds, and what it should."""
    has = [line.replace(" 0\t", "\t") for line in origin.git("ls-files", "-s", "-z", index=index).split("\0")]
    wanted = origin.git("ls-tree", "-r", "-z", place.name, index=index).split("\0")
    return has, [line.replace(" blob ", " ").replace(" commit ", " ") for line in wanted]


names = st.lists(st.sampled_from([b"a", b"b", b"a.x", b"odd\xff\n"]), min_size=1, max_size=3).map(b"/".join)
nodes = st.tuples(
    st.sampled_from([FILE, PROGRAM, LINK]), st.binary(min_size=1, max_size=3).map(lambda raw: raw.hex().encode())
)


@st.composite
def some_files(draw: st.DrawFn) -> Files:
    """Files none of which is a directory of another."""
    files: Files = {b"always": (FILE, b"here")}
    for path, node in draw(st.dictionaries(names, nodes, max_size=8)).items():
        if not any((path + b"/").startswith(other + b"/") or other.startswith(path + b"/") for other in files):
            files[path] = node
    return files


@settings(max_examples=40, deadline=None)
@given(versions=st.lists(some_files(), min_size=2, max_size=4))
def test_deltas_show_what_a_checkout_would_and_their_index_says_so(
    versions: list[Files], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("state")
    origin, trees = Origin(state), Trees(state, sync=settle)
    for files in versions:
        with trees.held(origin.commit(files)) as place:
            index, _ = trees.index(place)
            assert index is not None and told(trees.shown(place)) == files
            has, wanted = listed(origin, index, place)
            assert has == wanted
    first, *others = {trees.hold(origin.commit(files)).place: None for files in versions}
    assert first.exists() and not any(place.exists() for place in others)


BEFORE: Files = {
    b"a.txt": (FILE, b"text\n"), b"dir/one": (FILE, b"1"), b"dir/two": (FILE, b"2"), b"gone/x": (FILE, b"x"),
    b"to": (LINK, b"a.txt"), b"run": (PROGRAM, b"#!/bin/sh\n"),
}  # fmt: skip
AFTER: Files = {
    b"a.txt": (FILE, b"other\n"), b"dir": (FILE, b"now a file"), b"to/in": (FILE, b"now a directory"),
    b"run": (FILE, b"#!/bin/sh\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", [".git", "GIT~1", ".git ", ".g\u200cit", "in\\dir"])
def test_a_hostile_name_in_a_change_is_refused_by_git(origin: Origin, trees: Trees, name: str) -> None:
    trees.resolve(origin.commit(BEFORE))
    hostile = origin.commit({**BEFORE, os.fsencode(f"new/{name}/x"): (FILE, b"x")})
    if name == "in\\dir":  # which only some file systems take for a path: git decides
        with trees.held(hostile) as place:
            assert len(trees.shown(place)) == 1
        return
    with pytest.raises(Invalid, match="cannot be checked out"), trees.held(hostile):
        pass
    assert len(list((trees.folder / "r1").iterdir())) == 3  # of the first tree


@pytest.mark.parametrize(
    "more",
    [
        {b".gitattributes": (FILE, b"*.bat eol=crlf\n"), b"a.bat": (FILE, b"x\n")},
        {b"module": (SUBMODULE, b"1" * 40)},
        {f"many/{number}".encode(): (FILE, b"x") for number in range(deltas.MOST_DEEP + 501)},
        {b"large": (FILE, bytes(9 << 20))},
    ],
    ids=["attributes", "submodule", "many", "large"],
)
def test_what_git_has_to_decide_or_is_much_is_checked_out(origin: Origin, trees: Trees, more: Files) -> None:
    trees.resolve(origin.commit(BEFORE))
    with trees.held(origin.commit({**BEFORE, **more})) as place:
        assert trees.shown(place) == (place,)
        if b"a.bat" in more:
            assert (place / "a.bat").read_bytes() == b"x\r\n"


def test_files_below_attributes_that_convert_are_checked_out(origin: Origin, trees: Trees) -> None:
    before: Files = {b"w/.gitattributes": (FILE, b"*.bat eol=crlf\n"), b"w/a.bat": (FILE, b"x\n"), b"b": (FILE, b"b")}
    trees.resolve(origin.commit(before))
    with trees.held(origin.commit({**before, b"b": (FILE, b"c")})) as place:  # not near them
        assert len(trees.shown(place)) == 2 and told(trees.shown(place))[b"w/a.bat"][1] == b"x\r\n"
    with trees.held(origin.commit({**before, b"w/in/new.bat": (FILE, b"\n")})) as place:
        assert trees.shown(place) == (place,) and (place / "w/in/new.bat").read_bytes() == b"\r\n"


def test_deltas_that_lie_too_deep_are_checked_out_behind_and_go(
    origin: Origin, trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees_module, "MOST_DEEP", 2)
    versions: list[Files] = [{**BEFORE, b"a.txt": (FILE, b"%d" % number)} for number in range(4)]
    places = [trees.resolve(origin.commit(versions[0]))]
    for files in versions[1:3]:
        hold = trees.hold(origin.commit(files))
        places.append(hold.place)
    times = {entry.name: entry.stat().st_mtime for lower in reversed(hold.lowers) for entry in lower.iterdir()}
    trees.settled()
    assert len(hold.lowers) == 3 and hold.lowers[0].exists()  # held
    assert trees.shown(places[2]) == (places[2],) and told((places[2],)) == versions[2]
    assert {entry.name: entry.stat().st_mtime for entry in places[2].iterdir()} | times == times
    with trees.held(origin.commit(versions[3])) as place:
        assert trees.shown(place) == (deltas.files_of(place), places[2])
    hold.release()
    trees.settled()
    assert not hold.lowers[0].exists() and deltas.files_of(places[1]).exists()
    Trees(trees.folder.parent).recover()
    assert not list((trees.folder / "r1").glob("*.delta*")) and told((places[2],)) == versions[2]


def test_room_is_made_when_the_cache_grows_but_not_of_what_is_held(origin: Origin, tmp_path: Path) -> None:
    trees = Trees(tmp_path, sync=settle, limit=5 << 20)
    big: list[Files] = [  # other attributes, hence no deltas of each other
        {b".gitattributes": (FILE, b"# %d" % number), b"a": (FILE, os.urandom(1 << 20) * 2)} for number in range(4)
    ]
    held = trees.hold(origin.commit(big[0]))
    over = trees.hold(origin.commit({**big[0], b"b": (FILE, b"b")}))
    assert over.lowers == (deltas.files_of(over.place), held.place)
    held.release()  # but what lies over it is held
    idle = trees.hold(origin.commit(big[1]))
    os.utime(idle.place.with_name(f"{idle.place.name}.used"), (1, 1))
    idle.release()
    last = trees.hold(origin.commit(big[2]))
    trees.settled()
    assert told(over.lowers)[b"b"] == (FILE, b"b") and last.place.exists() and not idle.place.exists()
    over.release()
    for files in (over.lowers[0], held.place):
        os.utime(files.with_name(f"{files.name}.used"), (1, 1))
    trees.resolve(origin.commit(big[3]))
    trees.settled()
    assert not over.lowers[0].exists() and not held.place.exists() and last.place.exists()
    last.release()
    assert told(trees.hold(origin.commit({**big[0], b"b": (FILE, b"b")})).lowers)[b"b"] == (FILE, b"b")  # made again


@pytest.mark.root
def test_a_large_index_is_made_behind_and_waited_for(
    origin: Origin, tmp_path: Path, lazy: Lazy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deltas, "LARGE_INDEX", 0)
    let, change = threading.Event(), git_index.changed

    def held_back(*arguments: Any) -> bytes:
        assert let.wait(60)
        made: bytes = change(*arguments)
        return made

    monkeypatch.setattr(git_index, "changed", held_back)
    trees = Trees(tmp_path, sync=settle, lazy=lazy)
    trees.resolve(origin.commit(BEFORE))
    with trees.held(origin.commit(AFTER)) as place:
        index, beside = trees.index(place)
        assert told(trees.shown(place)) == AFTER and index is None and beside is not None
        with trees.held(origin.commit({**AFTER, b"more": (FILE, b"")})) as next_one:  # whose index waits for that one
            let.set()
            copy = tmp_path / "index"
            copy.write_bytes((beside / ".git" / "index").read_bytes())
            has, wanted = listed(origin, copy, place)
            assert has == wanted
            trees.check(place)
            trees.settled()
            last, _ = trees.index(next_one)
            assert last is not None and listed(origin, last, next_one)[0] == listed(origin, last, next_one)[1]
    assert lazy._spare is not None
    ahead = lazy._spare.result()
    with trees.held(origin.commit({**AFTER, b"more": (FILE, b"changed")})) as place:  # whose index has a place already
        assert trees.index(place) == (None, ahead.git) and lazy._spare is None
        copy.write_bytes((ahead.git / ".git" / "index").read_bytes())
        has, wanted = listed(origin, copy, place)
        assert has == wanted
    trees.close()


@pytest.mark.root
def test_an_index_is_served_anew_when_the_one_made_ahead_has_died(
    origin: Origin, tmp_path: Path, lazy: Lazy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deltas, "LARGE_INDEX", 0)
    trees = Trees(tmp_path, sync=settle, lazy=lazy)
    trees.resolve(origin.commit(BEFORE))
    lazy.prepare_index()
    assert lazy._spare is not None and lazy._spare.result().is_alive
    assert lazy._process is not None
    lazy._process.kill()
    lazy._process.wait()
    with trees.held(origin.commit(AFTER)) as place:  # nothing serves it: it was waited for
        index, beside = trees.index(place)
        assert beside is None and index is not None and told(trees.shown(place)) == AFTER
        assert listed(origin, index, place)[0] == listed(origin, index, place)[1]
    trees.close()


@pytest.mark.root
def test_an_index_that_was_served_for_what_became_no_delta_goes(
    origin: Origin, tmp_path: Path, lazy: Lazy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deltas, "LARGE_INDEX", 0)
    trees = Trees(tmp_path, sync=settle, lazy=lazy)
    trees.resolve(origin.commit(BEFORE))
    monkeypatch.setattr(tree_deltas, "_MOST_FILE", 0)  # found out when the first file is written
    with trees.held(origin.commit(AFTER)) as place:
        assert trees.shown(place) == (place,) and told((place,)) == AFTER
        assert list(lazy.folder.iterdir()) == []
    trees.close()


@pytest.mark.root
async def test_a_step_and_a_turn_see_a_delta_as_they_see_a_checkout(
    origin: Origin, trees: Trees, tmp_path: Path
) -> None:
    isolates = ZygoteIsolates(tmp_path, trees.resolve, trees=trees)
    await isolates.start()
    if not isolates.overlays:
        pytest.skip("this host does not give the wall")
    try:
        executor = LocalExecutor.at(tmp_path, isolates, trees)
        trees.resolve(origin.commit(BEFORE))
        reference = origin.commit(AFTER)
        code = Code("t", {}, "p", tree=reference)
        asked = attempt(
            "cat a.txt dir to/in; test ! -e gone; test ! -x run; git status --porcelain; touch -d @1 a.txt; rm dir",
            (),
            "s#1",
        )
        log = Log()
        outcome = await executor.execute(dataclasses.replace(asked, code=code), Prepared(), log)
        assert outcome.ok, (outcome, log.data)
        assert log.data.decode() == "other\nnow a filenow a directory" and outcome.layer
        layer = executor._workspaces.load(outcome.layer)
        assert not layer.written and layer.deleted == {"dir"}
        place = trees._known[reference]
        assert len(trees.shown(place)) == 2 and not place.exists()
        isolate = await isolates.open(IsolateSpec("acme", "turn", code))
        root = Path(f"/proc/{isolate.pid}/root/workspace")
        assert (
            place in trees._holds and (root / "to/in").read_text() == "now a directory" and not (root / "gone").exists()
        )
        with pytest.raises(OSError, match="Read-only"):
            (root / "a.txt").write_text("x")
        isolate.kill()
        await isolate.ended()
        assert place not in trees._holds
    finally:
        await isolates.stop()
