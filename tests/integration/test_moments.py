"""The files of moments: what steps in isolates changed, and their workspaces before and after."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from logged import Log, attempt

from stepwell.ci.moments import Changes, Moment
from stepwell.cli.unpacking import unpack
from stepwell.engine.seams import Prepared
from stepwell.errors import TryLater
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.moments import AT_ONCE, DIFF_SECONDS, Moments


async def step(executor: LocalExecutor, command: str, base: tuple[str, ...] = ()) -> Moment:
    """Run a command; the moment it makes."""
    asked = replace(attempt(command, base), key=f"step#{len(base) + 1}")
    outcome = await executor.execute(asked, Prepared(), Log())
    assert outcome.ok and outcome.layer, outcome
    return Moment(None, base, outcome.layer)


def told(found: Changes) -> list[tuple[str, str]]:
    return [(one.kind, one.path) for one in found.items]


def after(moment: Moment) -> tuple[str, ...]:
    assert moment.layer
    return (*moment.base, moment.layer)


async def test_changes_that_are_not_listed_are_counted(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_runners.moments.MOST_LISTED", 10)
    moment = await step(executor, "mkdir d && cd d && seq 1 25 | xargs touch")
    found = executor.moments.changes(moment)
    assert (len(found.items), found.total, found.more) == (10, 25, 15)


async def test_files_under_a_directory_that_a_file_replaced_are_told(executor: LocalExecutor) -> None:
    first = await step(executor, "mkdir -p src/deep src/none; echo a > src/a; echo b > src/deep/b")
    second = await step(executor, "rm -rf src; echo f > src", after(first))
    assert told(executor.moments.changes(second)) == [
        ("changed", "src"),
        ("removed", "src/a"),
        ("removed", "src/deep/b"),
        ("removed", "src/none/"),
    ]
    third = await step(executor, "rm src; mkdir src; echo c > src/c", after(second))
    assert told(executor.moments.changes(third)) == [("changed", "src"), ("added", "src/c")]


async def test_directories_with_nothing_else_to_tell_are_told(executor: LocalExecutor) -> None:
    first = await step(executor, "mkdir -p a/b c; touch c/file")
    assert told(executor.moments.changes(first)) == [("added", "a/b/"), ("added", "c/file")]
    second = await step(executor, "chmod 700 c; rm -r a", after(first))
    assert told(executor.moments.changes(second)) == [("removed", "a/b/"), ("mode", "c/")]


async def test_holes_are_kept_in_archives_and_copies(executor: LocalExecutor, tmp_path: Path) -> None:
    made = "truncate -s 3G sparse; printf mid | dd of=sparse bs=1M seek=1024 conv=notrunc; printf end >> sparse"
    odd = "mkdir d; truncate -s 2G \"$(printf 'd/\\303\\244 \\377')\"; echo plain > d/zplain"
    moment = await step(executor, f"({made}; {odd}) 2>/dev/null")
    archive = b"".join(executor.moments.archive(moment, "after"))
    assert len(archive) < 1 << 20
    assert unpack(iter([archive]), tmp_path / "copy") == []
    (tmp_path / "by-tar").mkdir()
    subprocess.run(["tar", "-x"], cwd=tmp_path / "by-tar", input=archive, check=True)
    for folder in (tmp_path / "copy", tmp_path / "by-tar"):
        found = {os.fsencode(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        assert sorted(found) == [b"d/zplain", "d/ä ".encode() + b"\xff", b"sparse"]
        assert sum(path.stat().st_blocks * 512 for path in found.values()) < 1 << 20
        sparse = found[b"sparse"]
        assert sparse.stat().st_size == (3 << 30) + 3
        with sparse.open("rb") as file:
            assert (file.seek(1 << 30), file.read(4)) == (1 << 30, b"mid\0")
            assert (file.seek(3 << 30), file.read()) == (3 << 30, b"end")
        assert (folder / "d" / "zplain").read_text() == "plain\n"


async def test_a_virtual_environment_works_in_a_copy(executor: LocalExecutor, tmp_path: Path) -> None:
    links = "ln -s /bin/sh bin/sh; ln -s sh bin/shell; ln -s lib/data data; ln -s /etc/passwd out"
    moment = await step(executor, f"mkdir bin lib; echo 1 > lib/data; {links}; ln -s ../../up up")
    archive = b"".join(executor.moments.archive(moment, "after"))
    copy = tmp_path / "copy"
    assert sorted(unpack(iter([archive]), copy)) == ["out", "up"]
    assert subprocess.check_output([copy / "bin" / "shell", "-c", "cat data"], cwd=copy) == b"1\n"


REPEATING = "for f in 1 2 3; do seq 0 3999 | awk '{print ($1 * %d) %% 100}' > $f; done"


async def test_texts_of_a_few_repeating_lines_are_compared_within_bounds(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_runners.moments.MOST_DIFF_LINES", 9_000)
    first = await step(executor, REPEATING % 1)
    second = await step(executor, REPEATING % 7, after(first))
    one, *others = executor.moments.changes(second).items
    assert one.diff.startswith("@@ -1") and not one.why
    assert [(other.diff, other.why[:16]) for other in others] == [("", "It is not shown:")] * 2


async def test_what_there_is_no_time_for_is_named(executor: LocalExecutor) -> None:
    moment = await step(executor, "echo 1 > a; echo 2 > b")
    times = iter([0.0, 0.0, DIFF_SECONDS, DIFF_SECONDS])
    slow = Moments(executor.moments._trees, executor.moments._workspaces, lambda: next(times))
    assert [(one.path, one.diff, one.why[:16]) for one in slow.changes(moment).items] == [
        ("a", "", "It is not shown:"),
        ("b", "", "It is not shown:"),
    ]


async def test_only_a_few_are_compared_at_once(executor: LocalExecutor) -> None:
    moment = await step(executor, "echo 1 > a")
    moments = executor.moments
    for _ in range(AT_ONCE):
        moments._places.acquire()
    with pytest.raises(TryLater, match="are being compared"):
        moments.changes(moment)
    moments._places.release()
    assert moments.changes(moment).items[0].diff == "@@ -0,0 +1 @@\n+1"
    assert moments.changes(moment).total == 1


async def test_line_ends_and_odd_separators_are_told(executor: LocalExecutor) -> None:
    first = await step(executor, r"printf 'a\nb\n' > crlf; printf 'a\nb\n' > last; printf 'x\fy\n' > page")
    second = await step(
        executor, r"printf 'a\r\nb\r\n' > crlf; printf 'a\nb' > last; printf 'x\fz\n' > page", after(first)
    )
    assert [(one.path, one.diff, one.why) for one in executor.moments.changes(second).items] == [
        ("crlf", "", "Only line ends changed."),
        ("last", "@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file", ""),
        ("page", "@@ -1 +1 @@\n-x\fy\n+x\fz", ""),
    ]
