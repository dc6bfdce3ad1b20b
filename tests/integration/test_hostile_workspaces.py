"""Steps that leave too much, or links and devices, and trees whose names differ by case only: nothing gets out.

STEPWELL_SOAK=1 leaves a million files instead of thousands.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from logged import Log, attempt

from stepwell.ci.moments import Moment
from stepwell.engine.seams import Code, Outcome, Prepared
from stepwell.repos.process import environment
from stepwell.repos.repositories import Repositories
from stepwell_runners import reduce
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.trees import Trees

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
pytestmark = [pytest.mark.root, pytest.mark.timeout(900 if SOAK else 300)]


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[LocalExecutor]:
    trees = Trees(tmp_path)
    isolates = ZygoteIsolates(tmp_path, trees.resolve)
    await isolates.start()
    if not isolates.overlays:
        pytest.skip("this host does not give the wall")
    yield LocalExecutor.at(tmp_path, isolates, trees)
    await isolates.stop()


async def run(executor: LocalExecutor, command: str, *base: str, tree: str | None = None) -> tuple[Outcome, str]:
    log = Log()
    asked = replace(attempt(command, base, f"step#{len(base) + 1}"), code=Code("t", {}, "p", tree=tree))
    return await executor.execute(asked, Prepared(), log), log.data.decode()


async def test_too_many_files_fail_the_step_and_are_removed(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not SOAK:
        monkeypatch.setattr(reduce, "MOST_ENTRIES", 2_000)
    command = f"mkdir many; cd many; seq {reduce.MOST_ENTRIES + 1} | xargs -n 1000 touch"
    outcome, _ = await run(executor, command)
    assert not outcome.ok and outcome.layer is None and outcome.error is not None
    words = f"The step left more than {reduce.MOST_ENTRIES:,} files and directories."
    assert outcome.error["message"].startswith(words)
    assert list((tmp_path / "work").iterdir()) == [] and list((tmp_path / "layers").iterdir()) == []


async def test_a_sparse_file_is_bounded_and_stays_sparse(executor: LocalExecutor, tmp_path: Path) -> None:
    outcome, _ = await run(executor, "truncate -s 10G sparse")
    assert not outcome.ok and outcome.error is not None
    assert (outcome.error["type"], "larger than 8 GiB" in outcome.error["message"]) == ("FileTooLarge", True)
    kept, _ = await run(executor, "truncate -s 7G sparse; echo end >> sparse")
    assert kept.ok and kept.layer
    after, told = await run(executor, "stat -c %s sparse; tail -c 4 sparse", kept.layer)
    assert after.ok and told.split() == [str((7 << 30) + 4), "end"]
    on_disk = sum(path.lstat().st_blocks * 512 for path in (tmp_path / "layers").rglob("*"))
    assert on_disk < 1 << 20


async def test_links_devices_and_rights_of_a_step_reach_nothing_outside(executor: LocalExecutor) -> None:
    links = "ln -s /etc/passwd abs; ln -s no/where dangling; ln -s ../../../etc up"
    odd = "mkfifo p; touch s; chmod 6755 s; mknod d c 1 3 || true; mkdir .GIT .g; echo x > .GIT/config"
    asked, log = attempt(f"{links}; {odd} 2>/dev/null", artifacts=["abs", "up/*", "dangling", "s"]), Log()
    outcome = await executor.execute(asked, Prepared(), log)
    assert outcome.ok and outcome.layer and outcome.collected and outcome.collected["artifacts"] == 1
    assert "Links are not collected, only files: abs, dangling." in log.notes
    lost = next(note for note in log.notes if note.startswith("Not kept: "))
    assert "p (a FIFO)" in lost and "s (setuid and setgid)" in lost
    again, told = await run(executor, "ls -A; readlink abs dangling up; test ! -e dangling", outcome.layer)
    assert again.ok and told.split() == [
        ".GIT",
        ".g",
        "abs",
        "dangling",
        "up",
        "/etc/passwd",
        "no/where",
        "../../../etc",
    ]
    for path in ("abs", "up/passwd", "dangling"):
        read = replace(attempt("", (outcome.layer,), "read#1"), kind="read", options={"path": path})
        assert not (await executor.execute(read, Prepared(), Log())).ok, path
    moment = Moment(None, (), outcome.layer)
    with tarfile.open(fileobj=io.BytesIO(b"".join(executor.moments.archive(moment, "after")))) as archive:
        kinds = {one.name: (one.type, one.linkname) for one in archive if one.name in ("abs", "up", "dangling")}
    assert kinds == {
        "abs": (tarfile.SYMTYPE, "/etc/passwd"), "up": (tarfile.SYMTYPE, "../../../etc"),
        "dangling": (tarfile.SYMTYPE, "no/where"),
    }  # fmt: skip
    shown = [change.diff.splitlines()[1:] for change in executor.moments.changes(moment).items if change.path == "abs"]
    assert shown == [["+link to /etc/passwd"]]


async def test_names_that_differ_by_case_only_stay_apart(executor: LocalExecutor, tmp_path: Path) -> None:
    origin = Repositories(tmp_path).create("r1")
    ids = [git(origin, "hash-object", "-w", "--stdin", text=text) for text in ("1", "2")]
    listed = "".join(f"100644 blob {id_}\t{name}\n" for id_, name in zip(ids, ("README", "readme"), strict=True))
    commit = git(origin, "commit-tree", "-m", "c", git(origin, "mktree", text=listed))
    command = "cat README readme; echo 3 > Readme; git status --porcelain"
    outcome, told = await run(executor, command, tree=f"r1:{commit}")
    assert outcome.ok and told == "12?? Readme\n"


def git(repository: Path, *arguments: str, text: str = "") -> str:
    who = {f"GIT_{role}_{part}": "t@localhost" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    command = ["git", "--git-dir", str(repository), *arguments]
    return subprocess.check_output(command, input=text.encode(), env=environment(extra=who)).decode().strip()


async def test_a_mark_that_a_step_writes_itself_hides_nothing(executor: LocalExecutor) -> None:
    first, _ = await run(executor, "mkdir src; echo precious > src/file")
    assert first.layer
    marks = ("opaque", "redirect", "metacopy", "whiteout", "origin")
    code = f"import os; [os.setxattr('src', 'user.overlay.' + name, b'y') for name in {marks}]; open('src/new', 'w')"
    second, said = await run(executor, f'python3 -c "{code}"; ls src', first.layer)
    assert second.layer and said.split() == ["file", "new"]
    _, seen = await run(executor, "cat src/file; ls src", first.layer, second.layer)
    assert seen.split() == ["precious", "file", "new"]


DEEP = "import os\nfor _ in range(300): os.mkdir('d' * 200); os.chdir('d' * 200)"


async def test_paths_longer_than_any_are_refused_in_few_words(executor: LocalExecutor, tmp_path: Path) -> None:
    outcome, _ = await run(executor, f'python3 -c "{DEEP}"')
    assert not outcome.ok and outcome.error
    message = outcome.error["message"]
    assert message.startswith("The step left directories whose path is longer than 3,000 bytes: 'dddd")
    assert str(tmp_path) not in message and len(message) < 300
    assert list((tmp_path / "work").iterdir()) == []
