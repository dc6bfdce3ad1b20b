"""Workspaces on a real disk, with a real overlay where this is root: what is committed is what the step saw."""

import os
import shutil
import stat
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from views import FORMS, entered

from stepwell.errors import Invalid
from stepwell_runners import reduce as disk
from stepwell_runners.workspaces import Form, WorkspaceConflict, Workspaces


def snapshot(root: Path) -> dict[str, tuple[str, int, bytes]]:
    """Describe everything below a directory."""
    found = {}
    for path, entry in disk.entries(root):
        mode = entry.stat(follow_symlinks=False).st_mode
        place = Path(entry.path)
        if entry.is_symlink():
            found[path] = ("link", 0, os.fsencode(place.readlink()))
        elif entry.is_dir():
            found[path] = ("folder", stat.S_IMODE(mode), b"")
        elif not stat.S_ISCHR(mode):
            found[path] = ("file", stat.S_IMODE(mode), place.read_bytes())
    return found


def step(workspaces: Workspaces, tree: Path, base: list[str], key: str, work: str) -> str | None:
    """Run a shell command as a step; its layer."""
    workspace = workspaces.open("run", key, base, tree)
    with entered(workspace) as view:
        subprocess.run(["sh", "-euc", work], cwd=view, check=True)
    return workspaces.commit(workspace, workspaces.change(workspace).layer).layer


def seen(workspaces: Workspaces, tree: Path, base: list[str]) -> dict[str, tuple[str, int, bytes]]:
    """Describe what a step on `base` sees."""
    workspace = workspaces.open("run", "look", base, tree)
    with entered(workspace) as view:
        found = snapshot(view)
    workspaces.discard(workspace)
    return found


@pytest.fixture(params=FORMS)
def workspaces(request: pytest.FixtureRequest, tmp_path: Path) -> Workspaces:
    return Workspaces(tmp_path / "state", request.param)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A commit's tree."""
    root = tmp_path / "tree"
    for path, text in {"src/f": "old\n", "src/deep/g": "g\n", "build/old": "old\n", "top": "t\n"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_steps_see_what_earlier_steps_left(workspaces: Workspaces, tree: Path) -> None:
    first = step(workspaces, tree, [], "one", "echo 1 > new; rm top; rm -r src/deep; ln -s src link; chmod 700 build")
    assert first is not None
    second = step(workspaces, tree, [first], "two", "test ! -e top; echo 2 >> new; rm -r build; echo b > build")
    assert second is not None
    found = seen(workspaces, tree, [first, second])
    assert found["new"] == ("file", 0o644, b"1\n2\n")
    assert found["build"] == ("file", 0o644, b"b\n")
    assert found["link"] == ("link", 0, b"src")
    assert not {"top", "src/deep", "src/deep/g", "build/old"} & set(found)
    assert list(workspaces.work.iterdir()) == []


def test_a_step_that_changed_nothing_leaves_no_layer(workspaces: Workspaces, tree: Path) -> None:
    assert (
        step(workspaces, tree, [], "one", "touch src/f; echo x > t; rm t; cp top u; mv u top; mkdir d; rmdir d") is None
    )
    assert list(workspaces.layers.iterdir()) == []
    assert list(workspaces.work.iterdir()) == []


def test_parallel_remove_and_make_again_keeps_the_others_file(workspaces: Workspaces, tree: Path) -> None:
    """The first data-losing case of stacked uppers."""
    one = step(workspaces, tree, [], "one", "echo A > build/a")
    two = step(workspaces, tree, [], "two", "rm -rf build; mkdir build")
    assert one and two
    found = seen(workspaces, tree, [one, two])
    assert found["build/a"][2] == b"A\n" and "build/old" not in found


def test_parallel_open_for_writing_keeps_the_others_change(workspaces: Workspaces, tree: Path) -> None:
    """The second data-losing case of stacked uppers."""
    one = step(workspaces, tree, [], "one", "echo new > src/f")
    two = step(workspaces, tree, [], "two", "exec 3<>src/f; echo y > other")
    assert one and two
    found = seen(workspaces, tree, [one, two])
    assert found["src/f"][2] == b"new\n" and found["other"][2] == b"y\n"


def test_parallel_removal_of_an_untracked_directory_keeps_what_was_added(workspaces: Workspaces, tree: Path) -> None:
    made = step(workspaces, tree, [], "made", "mkdir out; echo 1 > out/x")
    assert made
    one = step(workspaces, tree, [made], "one", "echo A > out/a; chmod 700 out")
    two = step(workspaces, tree, [made], "two", "rm -r out")
    assert one and two
    found = seen(workspaces, tree, [made, one, two])
    assert found["out"][1] == 0o700 and found["out/a"][2] == b"A\n" and "out/x" not in found
    assert seen(workspaces, tree, [made, one, two]) == found
    assert "out" not in seen(workspaces, tree, [made, two])


def test_parallel_changes_of_a_tracked_file_are_a_conflict(workspaces: Workspaces, tree: Path) -> None:
    assert step(workspaces, tree, [], "one", "echo 1 > src/f; echo 1 > free")
    workspace = workspaces.open("run", "two", [], tree)
    with entered(workspace) as view:
        (view / "src/f").write_text("2\n")
    with pytest.raises(WorkspaceConflict, match=r"'one'.*src/f"):
        workspaces.commit(workspace, workspaces.change(workspace).layer)
    workspaces.discard(workspace)
    assert step(workspaces, tree, [], "three", "echo 1 > src/f; echo 3 > free")


def test_setuid_devices_and_attributes_do_not_reach_a_layer(workspaces: Workspaces, tree: Path) -> None:
    work = "echo x > s; chmod 4755 s; mkfifo pipe; mkdir d; chmod 2755 d; echo y > src/f"
    if os.geteuid() == 0:
        work += "; mknod null c 1 3; chown 1234:1234 s"
    workspace = workspaces.open("run", "one", [], tree)
    with entered(workspace) as view:
        subprocess.run(["sh", "-euc", work], cwd=view, check=True)
        os.setxattr(view / "src/f", "user.note", b"1")
    layer = workspaces.commit(workspace, workspaces.change(workspace).layer).layer
    assert layer
    found = seen(workspaces, tree, [layer])
    assert found["s"][1] == 0o755 and found["d"][1] == 0o755
    assert not {"pipe", "null"} & set(found)
    folder, _, name = layer.partition("-")
    for _, entry in disk.entries(workspaces.layers / folder / name / "files"):
        assert os.listxattr(entry.path, follow_symlinks=False) == []
        assert entry.stat(follow_symlinks=False).st_uid == os.geteuid()


def test_recover_keeps_committed_layers_only(workspaces: Workspaces, tree: Path) -> None:
    one = step(workspaces, tree, [], "one", "echo 1 > a")
    two = step(workspaces, tree, [], "two", "echo 1 > b")
    assert one and two
    workspaces.open("run", "cut short", [one], tree)
    again = Workspaces(workspaces.state, workspaces.form)
    again.recover(lambda layer: layer == one)
    assert list(again.work.iterdir()) == []
    assert seen(again, tree, [one])["a"][2] == b"1\n"
    again.recover(lambda layer: False)
    assert list(again.layers.iterdir()) == []


def test_dropped_layers_leave_nothing(workspaces: Workspaces, tree: Path) -> None:
    one = step(workspaces, tree, [], "one", "echo 1 > a")
    two = step(workspaces, tree, [], "two", "echo 1 > b")
    assert one and two
    workspaces.drop(one)
    assert workspaces.missing([one, two]) == [one]
    workspaces.drop(two)
    assert list(workspaces.layers.iterdir()) == []


def test_an_adopted_layer_is_a_sibling_in_the_run_that_adopted_it(workspaces: Workspaces, tree: Path) -> None:
    adopted = step(workspaces, tree, [], "one", "echo mine > src/f")
    assert adopted
    workspace = workspaces.open("another run", "two", [], tree, beside=[adopted])
    with entered(workspace) as view:
        (view / "src/f").write_text("theirs\n")
    with pytest.raises(WorkspaceConflict, match="'one' changed the same tracked files differently: src/f"):
        workspaces.commit(workspace, workspaces.change(workspace).layer)


def test_a_layer_laid_over_another_tree_deletes_only_what_its_step_saw(
    workspaces: Workspaces, tree: Path, tmp_path: Path
) -> None:
    layer = step(workspaces, tree, [], "one", "rm -r build; echo new > built")
    assert layer
    newer = tmp_path / "newer"
    shutil.copytree(tree, newer, symlinks=True)
    (newer / "build" / "added").write_text("by the newer commit\n")
    found = seen(workspaces, newer, [layer])
    assert found["built"][2] == b"new\n"
    assert found["build/added"][2] == b"by the newer commit\n"
    assert "build/old" not in found


def test_odd_names_and_hard_links_survive(workspaces: Workspaces, tree: Path) -> None:
    name = os.fsdecode(b"odd \xff\n'\"name")
    workspace = workspaces.open("run", "one", [], tree)
    with entered(workspace) as view:
        (view / name).write_text("x")
        os.link(view / name, view / "same")
        os.truncate(view / name, 10 << 20)
    layer = workspaces.commit(workspace, workspaces.change(workspace).layer).layer
    assert layer
    folder, _, number = layer.partition("-")
    files = workspaces.layers / folder / number / "files"
    assert (files / name).stat().st_nlink == 2
    assert (files / name).stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("closed", ["mkdir d; chmod 0 d", "chmod 0 src", "echo x > f; chmod 0 f", "chmod 100 src"])
def test_what_an_ordinary_users_server_could_not_read_again_is_named(closed: str) -> None:
    """Root reads whatever the modes; for others the step fails, and says what to do, instead of a later one."""

    def leave_closed(home: Path) -> None:
        (home / "tree" / "src").mkdir(parents=True)
        (home / "tree" / "src" / "g").write_text("g")
        workspaces = Workspaces(home / "state", "copy")
        workspace = workspaces.open("run", "one", [], home / "tree")
        subprocess.run(["sh", "-euc", closed], cwd=workspace.upper, check=True)
        with pytest.raises(Invalid, match=r"The step left '(d|src|f)' closed for its owner.*chmod -R u\+rwX"):
            workspaces.change(workspace)
        workspaces.discard(workspace)
        assert list(workspaces.work.iterdir()) == []

    as_ordinary_user(leave_closed)


def as_ordinary_user(work: Callable[[Path], None]) -> None:
    """Do something in a process that is not root's, in a directory of its own."""
    home = Path(tempfile.mkdtemp())
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.chown(home, 65534, 65534)
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            os.chdir(home)
            work(home)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(home)
    assert status == 0, "see what the process printed"


def test_a_sparse_file_larger_than_memory_stays_one(workspaces: Workspaces, tree: Path) -> None:
    """Neither carried to the next step nor compared with its base byte by byte."""
    layer = step(workspaces, tree, [], "one", "truncate -s 1T vast; printf x | dd of=vast bs=1 seek=5G conv=notrunc")
    assert layer
    assert step(workspaces, tree, [layer], "two", "exec 3<>vast") is None
    changed = step(workspaces, tree, [layer], "three", "printf y | dd of=vast bs=1 seek=6G conv=notrunc")
    assert changed
    workspace = workspaces.open("run", "look", [layer, changed], tree)
    with entered(workspace) as view, (view / "vast").open("rb") as file:
        status = os.fstat(file.fileno())
        assert (os.pread(file.fileno(), 1, 5 << 30), os.pread(file.fileno(), 1, 6 << 30)) == (b"x", b"y")
    assert status.st_size == 1 << 40 and status.st_blocks * 512 < 16 << 20


# Links that lead out lead nowhere: what is renamed to a place behind one would otherwise end up on this host.
PATHS = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "e", "e/a"]
operations = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS), st.sampled_from(["1", "2"])),
    st.tuples(st.just("open"), st.sampled_from(PATHS), st.just("")),
    st.tuples(st.just("remove"), st.sampled_from(PATHS), st.just("")),
    st.tuples(st.just("mkdir"), st.sampled_from(PATHS), st.just("")),
    st.tuples(st.just("chmod"), st.sampled_from(PATHS), st.sampled_from(["700", "755"])),
    st.tuples(st.just("link"), st.sampled_from(PATHS), st.sampled_from(["a", "/nowhere/at/all"])),
    st.tuples(st.just("rename"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
)


def perform(root: Path, kind: str, path: str, argument: str) -> None:
    """Do one operation as a program would; what cannot be done is not done."""
    here = root / path
    try:
        match kind:
            case "write":
                here.write_text(argument)
            case "open":
                here.open("r+").close()
            case "remove" if here.is_dir() and not here.is_symlink():
                shutil.rmtree(here)
            case "remove":
                here.unlink()
            case "mkdir":
                here.mkdir()
            case "chmod" if not here.is_symlink():
                here.chmod(int(argument, 8))
            case "link":
                here.symlink_to(argument)
            case "rename":
                subprocess.run(["mv", "-T", here, root / argument], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(work=st.lists(st.lists(operations, max_size=6), min_size=1, max_size=3))
def test_any_work_gives_what_a_plain_directory_gives(
    work: list[list[tuple[str, str, str]]], form: Form, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("any")
    tree = home / "tree"
    tree.mkdir()
    for operation in [("mkdir", "d", ""), ("write", "d/a", "1"), ("mkdir", "d/e", ""), ("write", "d/e/a", "1")]:
        perform(tree, *operation)
    model = home / "model"
    shutil.copytree(tree, model)
    workspaces = Workspaces(home / "state", form)
    base: list[str] = []
    for number, operations_of_step in enumerate(work):
        workspace = workspaces.open("run", f"step#{number}", base, tree)
        with entered(workspace) as view:
            for operation in operations_of_step:
                perform(view, *operation)
                perform(model, *operation)
        layer = workspaces.commit(workspace, workspaces.change(workspace).layer).layer
        base += [layer] if layer else []
    assert seen(workspaces, tree, base) == snapshot(model)
