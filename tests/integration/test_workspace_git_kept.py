"""What steps do in git and hand on: commits, branches, tags, pushes; and what a hostile `.git` cannot bring in."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from git_steps import UNTOUCHED, Origin, attempt, run, say
from logged import Log

from stepwell.engine.seams import Prepared
from stepwell.repos import intake
from stepwell_runners import git_capture
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.layer_copies import layer_files
from stepwell_runners.options import IsolateOptions
from stepwell_runners.trees import Trees

COMMIT = "echo x > new && git add new && git commit -qm third"


@pytest.fixture
async def executor(state: Path) -> AsyncIterator[LocalExecutor]:
    """Without a wall: a hostile step can then reach other repositories on this host."""
    trees = Trees(state)
    isolates = ZygoteIsolates(state, trees.resolve, IsolateOptions(wall="none"))
    await isolates.start()
    yield LocalExecutor.at(state, isolates, trees)
    await isolates.stop()


async def keep(executor: LocalExecutor, origin: Origin, command: str, *base: str, key: str = "made#1") -> str:
    """Run a command that leaves a layer; its id."""
    outcome, log = await run(executor, attempt(origin.last, command, base, key=key))
    assert outcome.ok and outcome.layer, (outcome.error, log.text)
    return outcome.layer


async def refused(executor: LocalExecutor, origin: Origin, command: str) -> str:
    """Run a command whose commits cannot be kept; the step's message. Nothing of it is left."""
    outcome, log = await run(executor, attempt(origin.last, command))
    assert not outcome.ok and outcome.error is not None, log.text
    layers, work = executor._workspaces.layers, executor._workspaces.work
    assert [*layers.iterdir(), *work.iterdir()] == []
    return outcome.error["message"]


async def test_what_is_pushed_to_origin_is_kept_like_what_is_committed(executor: LocalExecutor, origin: Origin) -> None:
    push = "git push -q && git push -q origin HEAD:refs/heads/release && git tag v2 && git push -q --tags origin"
    made = await keep(executor, origin, f"{COMMIT} && {push}")
    asked = "git ls-remote -q origin | cut -f2; git fetch -q origin && git diff origin/release main && git describe"
    told = await say(executor, origin.last, asked + " --tags", base=(made,))
    assert "refs/heads/release" in told and "refs/tags/v2" in told and told.endswith("\nv2")
    assert origin.git("ls-remote", str(origin.path), "refs/heads/release", "refs/tags/v2") == ""


async def test_steps_build_on_each_others_commits_also_after_a_restart(
    executor: LocalExecutor, origin: Origin, state: Path
) -> None:
    one = await keep(executor, origin, f"git checkout -qb next && {COMMIT}")
    two = await keep(executor, origin, "git mv a b && git commit -qm fourth && git tag v3", one, key="two#1")
    await executor.recover(lambda layer: True, lambda run: False)
    assert list((state / "forks").iterdir()) == []
    asked = f"git log --format=%s; git branch --show-current; git describe --tags; ls; {UNTOUCHED}"
    told = await say(executor, origin.last, asked, base=(one, two), key="three#1")
    assert told.split() == ["fourth", "third", "second", "first", "next", "v3", "b", "link", "new", "run.sh", "src"]
    assert await say(executor, origin.last, "git log -1 --format=%s", base=(one,), key="four#1") == "third"


async def test_removed_and_packed_refs_are_seen_as_such(executor: LocalExecutor, origin: Origin) -> None:
    made = await keep(executor, origin, f"{COMMIT} && git tag -d v1.0 && git branch -m main trunk && git gc -q")
    told = await say(executor, origin.last, "git for-each-ref --format='%(refname)'; git status -sb", base=(made,))
    assert told.splitlines() == ["refs/heads/trunk", "## trunk"]


async def test_other_refs_and_what_is_staged_end_with_their_attempt(executor: LocalExecutor, origin: Origin) -> None:
    command = (
        "echo y > a; git add a; git stash -q; git notes add -m n; git update-ref refs/odd HEAD; git add -A; touch z"
    )
    made = await keep(executor, origin, command)
    told = await say(executor, origin.last, "git for-each-ref --format='%(refname)'; git status -s", base=(made,))
    assert told.splitlines() == ["refs/heads/main", "refs/tags/v1.0", "?? z"]


@pytest.mark.parametrize(("command", "options"), [(f"{COMMIT}; false", {}), (COMMIT, {"keep": False})])
async def test_commits_of_a_failed_attempt_or_a_dropped_layer_are_gone(
    executor: LocalExecutor, origin: Origin, state: Path, command: str, options: dict[str, bool]
) -> None:
    outcome, _ = await run(executor, attempt(origin.last, "", options={"command": command, **options}))
    assert outcome.layer is None and outcome.ok is (not command.endswith("false"))
    assert [*(state / "layers").iterdir(), *(state / "work").iterdir()] == []
    assert await say(executor, origin.last, "git log -1 --format=%s", key="step#1", number=2) == "second"


async def test_parallel_steps_unite_their_refs_and_the_later_swap_of_one_is_lost(
    executor: LocalExecutor, origin: Origin
) -> None:
    commands = {"one": "git tag v2", "two": "git tag v3", "three": "git tag -f v2 HEAD~1"}
    layers = [await keep(executor, origin, commands[key], key=f"{key}#1") for key in ("one", "two")]
    outcome, _ = await run(executor, attempt(origin.last, commands["three"], key="three#1"))
    assert not outcome.ok and outcome.error is not None and outcome.error["type"] == "WorkspaceConflict"
    assert "'one#1' moved the same branches or tags differently: tag v2." in outcome.error["message"]
    assert (await say(executor, origin.last, "git tag", base=tuple(layers))).split() == ["v1.0", "v2", "v3"]


async def test_what_a_step_leaves_under_a_detached_head_is_no_part_of_what_the_next_one_makes(
    executor: LocalExecutor, origin: Origin, tmp_path: Path
) -> None:
    """Or a commit of a dependency of the tests would be published as that of the step that makes the release."""
    theirs = await keep(executor, origin, f"git checkout -q --detach && {COMMIT}", key="test#1")
    mine = await keep(executor, origin, "git commit -q --allow-empty -m 4 && git tag v2", theirs, key="bump#1")
    captured = executor._workspaces.captured_of(mine)
    assert captured is not None
    tag, parts = captured.refs["refs/tags/v2"].after or "", executor._workspaces.captured([theirs, mine], origin.last)
    for number, (given, is_whole) in enumerate(((parts[1:], False), (parts, True))):
        scratch = tmp_path / f"scratch-{number}"
        scratch.mkdir()
        if is_whole:
            intake.bring(origin.path, tag, given, scratch, lambda contents, place: None)
        else:
            with pytest.raises(intake.Incomplete):
                intake.bring(origin.path, tag, given, scratch, lambda contents, place: None)
    assert origin.git("ls-remote", str(origin.path), "refs/tags/v2") == ""


async def test_a_copied_workspace_keeps_commits_too(
    executor: LocalExecutor, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor._opener, "_form", lambda asked: "copy")
    origin.git("--git-dir", str(origin.path), "pack-refs", "--all")
    monkeypatch.setattr(git_capture, "_MOST_PACKED", 0)  # what the repository has does not count
    monkeypatch.setattr(git_capture, "_MOST_FILES", 3)
    untouched, log = await run(executor, attempt(origin.last, "git status && git log", key="look#1"))
    assert untouched.ok and untouched.layer is None and log.notes == []
    made = await keep(executor, origin, f"{COMMIT} && git tag v2 && git tag -d v1.0")
    told = await say(executor, origin.last, f"git describe --tags; git tag; {UNTOUCHED}", base=(made,))
    assert told.split() == ["v2", "v2"]


async def test_commits_made_on_another_commit_are_left_out(executor: LocalExecutor, origin: Origin) -> None:
    made = await keep(executor, origin, COMMIT)
    told = await say(executor, origin.first, "git log -1 --format=%s; cat new", base=(made,), run="restarted")
    assert told == "first\nx"


async def test_a_backup_has_what_was_committed(executor: LocalExecutor, origin: Origin, state: Path) -> None:
    await keep(executor, origin, COMMIT)
    names = {Path(name).name.split(".")[-1] for name, _ in layer_files(state / "layers") if "/git/" in name}
    assert names == {"objects", "pack", "idx", "json"}


async def test_nothing_that_a_step_put_into_git_is_run(executor: LocalExecutor, origin: Origin, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    script = f"printf '#!/bin/sh\\ntouch {trap}\\n' > .git/t && chmod +x .git/t"
    hooks = "mkdir -p .git/hooks && for n in post-index-change reference-transaction post-checkout pre-commit; "
    hooks += "do cp .git/t .git/hooks/$n; done"
    settings = [
        "core.fsmonitor .git/t",
        "core.hooksPath .git/hooks",
        "core.sshCommand .git/t",
        "uploadpack.packObjectsHook .git/t",
    ]
    config = " && ".join(
        f"git config {one}" for one in [*settings, "filter.x.clean .git/t", "core.alternateRefsCommand .git/t"]
    )
    made = await keep(executor, origin, f"{COMMIT} && git tag v2 && {script} && {hooks} && {config}")
    assert not trap.exists()
    assert (
        await say(
            executor,
            origin.last,
            "git describe --tags; git config core.fsmonitor; ls .git/hooks 2>/dev/null || true",
            base=(made,),
        )
        == "v2\nfalse"
    )
    assert not trap.exists()


async def test_objects_of_another_repository_stay_out(executor: LocalExecutor, origin: Origin, state: Path) -> None:
    other = Origin(state, "r2")
    theirs = other.commit("theirs", {"secret": "of others"})
    other.git("push", "-q", str(other.path), "main")
    named = f"echo {theirs} > .git/refs/heads/theirs"
    assert "bad object" in await refused(executor, origin, named)
    tree = other.git("rev-parse", f"{theirs}^{{tree}}")
    made = f"GIT_ALTERNATE_OBJECT_DIRECTORIES={other.path}/objects git commit-tree -m mine {tree}"
    assert "cannot be kept" in await refused(executor, origin, f"git update-ref refs/heads/x $({made})")
    outcome, log = await run(
        executor, attempt(origin.last, f"echo {other.path}/objects > .git/objects/info/alternates; {named}")
    )
    assert outcome.ok and outcome.layer is None and log.notes == [git_capture.REPLACED]


REPLACING = [
    "rm -rf .git && ln -s / .git", "rm -rf .git && git init -q . && git commit -q --allow-empty -m x",
    "rm -rf .git/refs && ln -s /etc .git/refs", "rm -rf .git/objects && ln -s /etc .git/objects && git tag v2",
    "rm -rf .git/refs && mkfifo .git/refs",
]  # fmt: skip


async def test_a_replaced_git_is_not_looked_into_and_the_log_says_so(executor: LocalExecutor, origin: Origin) -> None:
    for command in REPLACING:
        outcome, log = await run(executor, attempt(origin.last, f"{command}; true"))
        assert outcome.ok and outcome.layer is None and log.notes == [git_capture.REPLACED], (command, log.text)


REFUSED = [
    ("git rev-parse HEAD > .git/refs/heads/..x", "no name of a branch or tag"),
    ("git rev-parse HEAD > '.git/refs/heads/a b'", "no name of a branch or tag"),
    ("git rev-parse HEAD > .git/refs/heads/$(printf 'a\\nb')", "no name of a branch or tag"),
    ("echo ../../etc/passwd > .git/refs/heads/x", "without the id of a commit"),
    ("ln -sf /etc/passwd .git/HEAD; cd .git/refs/heads; ln -s /etc/passwd x; echo 1 > y", "without the id"),
    ("git rev-parse HEAD:a > .git/refs/heads/x", "no commit (blob)"),
    ("git rev-parse HEAD^{tree} > .git/refs/tags/x", "no commit (tree)"),
    (f"{COMMIT}; o=$(git rev-parse HEAD); rm -f .git/objects/$(echo $o | cut -c1-2)/*", "cannot be kept"),
    (f"{COMMIT}; for f in .git/objects/??/*; do chmod +w $f; echo junk > $f; done", "is damaged"),
    ("c=$(git rev-parse @); for n in $(seq 1200); do echo $c refs/heads/b$n; done > .git/packed-refs", "1,000 are"),
]  # fmt: skip


async def test_what_git_would_not_accept_fails_the_step(executor: LocalExecutor, origin: Origin) -> None:
    for command, words in REFUSED:
        assert words in await refused(executor, origin, command), command


def _loose(kind: str, content: bytes) -> tuple[str, str]:
    """Return an object's id, and the command that writes it as git never would."""
    data = f"{kind} {len(content)}\0".encode() + content
    id_ = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    octal = "".join(f"\\{byte:03o}" for byte in zlib.compress(data))
    return id_, f"mkdir -p .git/objects/{id_[:2]}; printf '{octal}' > .git/objects/{id_[:2]}/{id_[2:]}"


async def test_a_commit_that_would_write_outside_is_refused(executor: LocalExecutor, origin: Origin) -> None:
    who = "t <t@example.org> 1700000000 +0000"
    for name in (b".git", b"..", b".GIT", b"git~1", b"a/b"):
        blob, write_blob = _loose("blob", b"evil")
        tree, write_tree = _loose("tree", b"100644 " + name + b"\0" + bytes.fromhex(blob))
        commit, write = _loose("commit", f"tree {tree}\nauthor {who}\ncommitter {who}\n\nx\n".encode())
        command = f"{write_blob}; {write_tree}; {write}; echo {commit} > .git/refs/heads/evil"
        assert "cannot be kept" in await refused(executor, origin, command), name


async def test_what_is_committed_is_bounded(
    executor: LocalExecutor, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_capture, "MOST_BYTES", 64 << 10)
    assert "is too much" in await refused(
        executor, origin, "head -c 100000 /dev/urandom > new; git add new; git commit -qm x"
    )
    monkeypatch.setattr(intake, "MOST_INFLATED", 1 << 20)
    assert "is too much" in await refused(
        executor, origin, "head -c 9000000 /dev/zero > new; git add new; git commit -qm x"
    )


async def test_a_cancelled_attempt_leaves_no_commit(executor: LocalExecutor, origin: Origin, state: Path) -> None:
    asked = attempt(origin.last, f"{COMMIT}; mkfifo wait; echo ready; cat wait")
    log = Log()
    running = asyncio.create_task(executor.execute(asked, Prepared(), log))
    await asyncio.wait_for(log.arrived.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [*(state / "layers").iterdir(), *(state / "work").iterdir()] == []
