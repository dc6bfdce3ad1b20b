"""git inside steps: real repositories, real isolates, with the wall and without it."""

import asyncio
import dataclasses
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from git_steps import UNTOUCHED, Origin, attempt, run, say

from stepwell.engine.seams import Code
from stepwell.repos.forks import remove_fork
from stepwell.repos.pins import pin, pinned
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.run_forks import RunForks
from stepwell_runners.spec import CommandSpec
from stepwell_runners.streaming import Process
from stepwell_runners.trees import Trees
from stepwell_runners.whole_trees import index_of


class NoIsolates:
    """Container steps need none."""

    walled = overlays = divides_processors = True

    async def command(self, spec: CommandSpec) -> Process:
        raise AssertionError("a container step asked for an isolate")


def pins_of(forks: RunForks, origin: Origin) -> set[str]:
    """What is pinned, once that has settled."""
    forks.settled()
    return pinned(origin.path)


async def test_git_tells_what_is_being_built(executor: LocalExecutor, origin: Origin) -> None:
    assert await say(executor, origin.last, "git rev-parse HEAD && git branch --show-current") == f"{origin.last}\nmain"
    assert await say(executor, origin.last, "git describe --tags --dirty") == f"v1.0-1-g{origin.last[:7]}"
    assert await say(executor, origin.last, "git log --format=%s") == "second\nfirst"
    assert await say(executor, origin.last, "git ls-files") == "a\nlink\nrun.sh\nsrc/f"
    assert "one" in await say(executor, origin.last, "git blame -s a")
    assert await say(executor, origin.last, UNTOUCHED) == ""
    assert await say(executor, origin.last, "git stash list; git fsck --strict 2>&1") == ""


async def test_a_tag_stands_detached(executor: LocalExecutor, origin: Origin) -> None:
    metadata = {"name": "acme/api", "commit": origin.first, "branch": None, "tag": "v1.0"}
    told = await say(
        executor, origin.first, "git describe; git branch --show-current; git status -s", metadata=metadata
    )
    assert told == "v1.0"


async def test_submodules_and_odd_names_leave_the_workspace_clean(executor: LocalExecutor, origin: Origin) -> None:
    origin.commit(
        "odd names",
        {
            "name with\nlines": "", "ü" * 120: "", ".gitattributes": "*.bat eol=crlf\n", "x.bat": "1\n",
            ".gitmodules": '[submodule "sub"]\n\tpath = sub\n\turl = ../sub.git\n',
        },
    )  # fmt: skip
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{origin.first},sub")
    origin.git("commit", "-q", "--amend", "-m", "all")
    last = origin.git("rev-parse", "HEAD")
    origin.git("push", "-q", str(origin.path), "main")
    outcome, log = await run(executor, attempt(last, UNTOUCHED))
    assert outcome.ok and log.text == "" and ["submodule ('sub')" in note for note in log.notes] == [True]
    assert (await run(executor, attempt(last, "true", key="two#1")))[1].notes == [], "said once in a run"
    assert "160000" in await say(executor, last, "git ls-files -s sub")


async def test_an_edit_is_seen_even_in_the_second_of_the_checkout(executor: LocalExecutor, origin: Origin) -> None:
    """Of the same size, at once after the tree was made: what a careless index does not notice."""
    command = "sed -i s/old/new/ src/f && git status --porcelain && git diff --stat | tail -1; git describe --dirty"
    told = (await say(executor, origin.last, command)).splitlines()
    assert told[0].strip() == "M src/f" and "1 file changed" in told[1] and told[2].endswith("-dirty")


async def test_git_sees_what_earlier_steps_changed(executor: LocalExecutor, origin: Origin) -> None:
    made, _ = await run(executor, attempt(origin.last, "echo x > new; rm a; sed -i s/old/new/ src/f"))
    assert made.layer
    told = await say(executor, origin.last, "git status --porcelain", base=(made.layer,), key="two#1")
    assert told.splitlines() == ["D a", " M src/f", "?? new"]


async def test_commits_and_tags_are_kept_with_their_step(executor: LocalExecutor, origin: Origin, state: Path) -> None:
    command = (
        "echo x > new && git add new && git commit -qm third && git tag -am words v2 && git push -q --tags origin main"
    )
    made, log = await run(executor, attempt(origin.last, f"{command} && git describe --tags && git status -s"))
    assert made.ok and log.text.strip() == "v2" and made.layer, (made.error, log.text)
    assert any(
        re.fullmatch("Kept with this step: branch main [0-9a-f]{10}, tag v2 [0-9a-f]{10}.", n) for n in log.notes
    )
    files = state / "layers" / Path(*made.layer.split("-"))
    assert [path.name for path in (files / "files").iterdir()] == ["new"]
    asked = f"git describe; git log --format=%s; git fsck --strict 2>&1; {UNTOUCHED}"
    assert await say(executor, origin.last, asked, base=(made.layer,), key="two#1") == "v2\nthird\nsecond\nfirst"
    assert await say(executor, origin.last, "git tag; git log -1 --format=%s", key="beside#1") == "v1.0\nsecond"
    assert origin.git("ls-remote", str(origin.path), "refs/tags/v2") == ""


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf .git",
        "rm -rf .git && ln -s / .git",
        "rm -rf .git && mkfifo .git",
        "rm -rf .git && echo gitdir: /etc > .git",
        "rm -rf .git && git init -q . && echo x > .git/hooks/post-checkout",
        "chmod 0 .git; mv .git/index .git/other || true",
        "git config core.fsmonitor 'touch /tmp/x' && git config core.sshCommand 'touch /tmp/x'",
    ],
)
async def test_nothing_of_git_is_in_a_layer(executor: LocalExecutor, origin: Origin, state: Path, command: str) -> None:
    alone, text = await run(executor, attempt(origin.last, command))
    assert alone.ok and alone.layer is None, text
    made, text = await run(executor, attempt(origin.last, f"{command}; echo x > new", key="two#1"))
    assert made.ok and made.layer, text
    assert not [path for path in (state / "layers").rglob("*") if path.name.startswith(".git")]
    told = await say(executor, origin.last, "git status -s", base=(made.layer,), key="three#1")
    assert told == "?? new"
    assert list((state / "work").iterdir()) == []


async def test_parallel_steps_have_a_git_each(executor: LocalExecutor, origin: Origin) -> None:
    command = "git checkout -qb mine && git commit -q --allow-empty -m $0 && sleep 0.3 && git log -1 --format=%s"
    asked = [attempt(origin.last, command, key=f"{name}#1") for name in ("one", "two", "three")]
    asked = [dataclasses.replace(one, options={"command": ["sh", "-c", command, one.key]}) for one in asked]
    told = await asyncio.gather(*(run(executor, one) for one in asked))
    assert [log.text.strip() for _, log in told] == ["one#1", "two#1", "three#1"]
    lost = [outcome.error["message"] for outcome, _ in told if outcome.error is not None]
    assert len(lost) == 2 and all("moved the same branches or tags differently: branch mine" in one for one in lost)


async def test_only_this_repository_is_shown_and_read_only(
    executor: LocalExecutor, origin: Origin, state: Path
) -> None:
    other = Origin(state, "r2")
    theirs = other.commit("theirs", {"secret": "of others"})
    other.git("push", "-q", str(other.path), "main")
    pin(origin.path, origin.first)  # another run's
    assert not await say(executor, origin.last, f"git cat-file -e {theirs} 2>/dev/null && echo seen || true")
    assert "refs/runs" not in await say(executor, origin.last, "git for-each-ref; cat .git/packed-refs")
    if executor._isolates.walled:
        where = "$(cat .git/objects/info/alternates)"
        told = await say(
            executor, origin.last, f"ls {where}/.. ; touch {where}/x 2>&1 || true; ls -d {state} 2>&1 || true"
        )
        assert told.splitlines()[0] == "git-objects" and "Read-only" in told and "No such file" in told


async def test_a_commit_that_was_forced_away_and_collected_still_builds(
    executor: LocalExecutor, origin: Origin, state: Path
) -> None:
    assert await say(executor, origin.last, "git rev-parse HEAD") == origin.last
    executor._forks.settled()
    origin.lose(origin.last)
    (state / "trees" / "r1").rename(state / "trees" / "gone")
    executor._trees._known.clear()
    assert await say(executor, origin.last, f"git log --format=%s && {UNTOUCHED}", key="two#1") == "second\nfirst"
    await executor.recover(lambda layer: True, lambda run: False)
    assert await say(executor, origin.last, "git log -1 --format=%s", key="three#1") == "second"


async def test_forks_and_pins_end_with_their_runs(executor: LocalExecutor, origin: Origin, state: Path) -> None:
    for name in ("run-1", "run-2"):
        await say(executor, origin.last, "git status", run=name)
    await say(executor, origin.first, "git status", run="odd/../id", metadata={})
    assert len(list((state / "forks").iterdir())) == 3
    assert pins_of(executor._forks, origin) == {origin.first, origin.last}
    await executor.forget("run-1")
    assert not (state / "forks" / "run-1.git").exists() and (state / "forks" / "run-2.git").exists()
    assert pins_of(executor._forks, origin) == {origin.first, origin.last}
    await executor.recover(lambda layer: True, lambda run: False)
    again = LocalExecutor.at(state, executor._isolates, executor._trees)  # as after a restart
    assert list((state / "forks").iterdir()) == []
    await again.forget("run-2")
    assert pins_of(executor._forks, origin) == {origin.first}
    await again.forget("odd/../id")
    await again.forget("unknown")
    assert pins_of(executor._forks, origin) == set()
    assert [path for path in (state / "pins").rglob("*") if path.name not in (".runs", "r1")] == []


async def test_a_pin_of_a_run_that_was_not_forgotten_before_a_crash_ends_at_the_next_start(
    executor: LocalExecutor, origin: Origin
) -> None:
    await say(executor, origin.first, "git status", run="odd/../id", metadata={})
    await say(executor, origin.last, "git status", run="waits")
    await executor.recover(lambda layer: True, {"odd/../id": True, "waits": False}.__getitem__)
    assert pins_of(executor._forks, origin) == {origin.last}
    (note,) = (executor._forks.pins / "r1" / origin.last).iterdir()
    note.unlink()  # as when the server dies within `forget`
    note.parent.rmdir()
    await executor.recover(lambda layer: True, {"waits": True}.__getitem__)
    assert pins_of(executor._forks, origin) == set()


async def test_a_note_of_an_older_server_that_does_not_tell_its_run_is_kept(
    executor: LocalExecutor, origin: Origin
) -> None:
    await say(executor, origin.last, "git status", run="odd/../id", metadata={})
    (note,) = (executor._forks.pins / "r1" / origin.last).iterdir()
    note.write_text("")
    await executor.recover(lambda layer: True, lambda run: True)
    assert pins_of(executor._forks, origin) == {origin.last}


async def test_a_run_that_rests_has_no_fork_and_gets_it_back(
    executor: LocalExecutor, origin: Origin, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(fork: Path) -> None:
        existed = fork.exists()
        remove_fork(fork)
        if existed:
            loop.call_soon_threadsafe(gone.set)

    monkeypatch.setattr("stepwell_runners.run_forks.remove_fork", told)
    monkeypatch.setattr("stepwell_runners.run_forks.REST_SECONDS", 0)
    await say(executor, origin.last, "git status")
    await asyncio.wait_for(gone.wait(), 60)
    assert list((state / "forks").iterdir()) == [] and pins_of(executor._forks, origin) == {origin.last}
    assert await say(executor, origin.last, "git rev-parse HEAD", key="two#1") == origin.last


def test_a_fork_in_use_does_not_rest(origin: Origin, state: Path) -> None:
    forks = RunForks(state)
    index = index_of(Trees(state).resolve(f"r1:{origin.last}"))
    forks.enter("run-1")
    view = forks.ready("run-1", "r1", origin.last, "main", index=index, walled=True)
    forks.rest("run-1")
    assert (view.lower / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
    forks.recover(lambda run: False)
    assert list((state / "forks").iterdir()) == []


@pytest.mark.parametrize("branch", ["../../../x", "a b", "x\ny", ".lock", "a//b", "refs/.."])
def test_a_branch_that_git_would_refuse_leaves_head_detached(origin: Origin, state: Path, branch: str) -> None:
    index = index_of(Trees(state).resolve(f"r1:{origin.last}"))
    view = RunForks(state).ready("run-1", "r1", origin.last, branch, index=index, walled=True)
    assert (view.lower / ".git" / "HEAD").read_text() == f"{origin.last}\n"


def test_a_lock_that_a_killed_server_left_does_not_stop_runs(
    origin: Origin, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.repos.refs._WAIT_S", 0.0)
    index = index_of(Trees(state).resolve(f"r1:{origin.last}"))
    (origin.path / "packed-refs.lock").touch()
    forks = RunForks(state)
    forks._born += 60
    forks.ready("run-1", "r1", origin.last, "main", index=index, walled=True)
    assert pins_of(forks, origin) == {origin.last}


def test_a_pin_that_a_crash_came_before_is_made_at_the_next_start(origin: Origin, state: Path) -> None:
    note = state / "pins" / "r1" / origin.last / "run-1"
    forks = RunForks(state)
    note.parent.mkdir(parents=True)
    (state / "pins" / ".runs" / "run-1").symlink_to(f"../r1/{origin.last}/run-1")
    note.write_text("run-1")
    forks.recover(lambda run: False)
    assert pins_of(forks, origin) == {origin.last}
    forks.forget("run-1")
    assert pins_of(forks, origin) == set()


async def test_a_run_without_a_repository_has_no_git(executor: LocalExecutor, origin: Origin, state: Path) -> None:
    plan = Code("digest", {}, "plan.py:Plan", tree=None)
    assert await say(executor, origin.last, "ls -A; env | grep ^GIT || true", code=plan) == ""
    assert list((state / "forks").iterdir()) == []


def _image_with_git(engine: Any) -> str:
    """Import an image that holds this host's git, its libraries and a shell."""
    programs = [shutil.which(name) or "" for name in ("git", "sh", "touch", "cat")]
    libraries = {
        word
        for program in programs
        for word in subprocess.check_output(["ldd", program], text=True).split()
        if word.startswith("/")
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
        for program in programs:
            archive.add(program, f"bin/{Path(program).name}")
        for library in sorted(libraries):
            archive.add(library, library[1:])
    engine.api.import_image_from_data(packed.getvalue(), repository="stepwell-test/git", tag="latest")
    return "stepwell-test/git:latest"


@pytest.mark.docker
async def test_containers_have_git_if_the_engine_mounts_our_directories(state: Path, origin: Origin) -> None:
    import docker
    import docker.errors

    if os.geteuid() != 0:
        pytest.skip("dockerd's overlays are root's")
    try:
        engine = docker.from_env()
        image = _image_with_git(engine)
    except docker.errors.DockerException:
        pytest.skip("no Docker engine answers")
    executor = LocalExecutor.at(state, NoIsolates(), warm_containers=0)
    command = f"git describe --tags && {UNTOUCHED} && git commit -q --allow-empty -m more && git log --format=%s"
    command += "; touch new; touch /tools/git-objects/x 2>/dev/null || echo read-only"
    options = {"command": command, "image": image, "network": False, "check": False}
    outcome, log = await run(executor, attempt(origin.last, "", options=options))
    assert outcome.ok and outcome.layer, (outcome.error, log.text)
    lines = log.text.splitlines()
    assert lines == [f"v1.0-1-g{origin.last[:7]}", "more", "second", "first", "read-only"], lines
    options = {"command": "git log -1 --format=%s; git status -s", "image": image, "network": False}
    _, later = await run(executor, attempt(origin.last, "", (outcome.layer,), key="two#1", options=options))
    engine.images.remove(image, force=True)
    assert later.text == "more\n?? new\n"
    files = state / "layers" / Path(*outcome.layer.split("-")) / "files"
    assert [path.name for path in files.iterdir()] == ["new"]
