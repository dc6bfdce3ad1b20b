"""Steps in real isolates on real workspaces, as the engine asks for them."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from logged import Log, attempt

from stepwell.engine.seams import Attempt, Code, Outcome, Prepared
from stepwell.repos.process import environment
from stepwell.store.blobs import BlobFiles
from stepwell.store.removals import removals_held
from stepwell_runners.blank import Blank
from stepwell_runners.collected import Bound
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolate import Isolate
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.link import Gone
from stepwell_runners.streaming import Bounds
from stepwell_runners.wall import Order

OUTPUT_EXCEEDED = (
    "it printed more than 1 MiB. Print less, or into a file. The operator sets the limit: STEPWELL_STEP_OUTPUT_MB."
)


async def run(executor: LocalExecutor, asked: Attempt, log: Log | None = None, **prepared: Any) -> Outcome:
    return await executor.execute(asked, Prepared(**prepared), log or Log())


def failure(outcome: Outcome) -> tuple[str, str]:
    """Type and message of an attempt that failed."""
    assert not outcome.ok
    assert outcome.error is not None
    return outcome.error["type"], outcome.error["message"]


def state_of(executor: LocalExecutor) -> Path:
    return executor._workspaces.state


def left_over(executor: LocalExecutor) -> list[Path]:
    return list((state_of(executor) / "work").iterdir())


async def test_a_command_prints_and_passes(executor: LocalExecutor) -> None:
    log = Log()
    outcome = await run(executor, attempt("echo out; echo err >&2; pwd; echo $CI $STEPWELL $STEPWELL_STEP"), log)
    assert outcome.ok and outcome.exit_code == 0 and outcome.layer is None
    assert outcome.value["exit_code"] == 0 and outcome.value["seconds"] >= 0
    lines = log.data.decode().splitlines()
    assert lines[:2] == ["out", "err"] and lines[3] == "true true step"
    assert left_over(executor) == []


async def test_arguments_as_a_list_are_not_read_by_a_shell(executor: LocalExecutor) -> None:
    log = Log()
    assert (await run(executor, attempt(["echo", "$HOME", "a b"]), log)).ok
    assert log.data == b"$HOME a b\n"


async def test_an_exit_code_fails_the_step_unless_check_is_false(executor: LocalExecutor) -> None:
    failed = await run(executor, attempt("echo x > file; exit 3"))
    assert not failed.ok and failed.exit_code == 3 and failed.layer is None
    assert failed.error is not None
    assert (failed.error["type"], failed.error["message"]) == ("CommandFailed", "exit code 3")
    assert left_over(executor) == []
    passed = await run(executor, attempt("exit 3", check=False))
    assert passed.ok and passed.value["exit_code"] == 3


async def test_files_are_seen_by_steps_that_stand_on_them(executor: LocalExecutor) -> None:
    one = await run(executor, attempt("echo 1 > made; mkdir -p sub", key="one#1"))
    assert one.ok and one.layer
    two = await run(executor, attempt("cat ../made && rm ../made && echo 2 > here", (one.layer,), "two#1", cwd="sub"))
    assert two.ok and two.layer, two
    log = Log()
    three = await run(executor, attempt("ls -1 . sub", (one.layer, two.layer), "three#1"), log)
    assert three.ok and three.layer is None
    assert log.data.decode().split() == [".:", "sub", "sub:", "here"]
    untouched = await run(executor, attempt("test ! -e made", (), "four#1"))
    assert untouched.ok


async def test_a_retry_starts_clean_and_keep_false_drops_the_layer(executor: LocalExecutor) -> None:
    assert not (await run(executor, attempt("echo x > marker; exit 1"))).ok
    again = await run(executor, attempt("test ! -e marker; echo $?; touch marker", keep=False))
    assert again.ok and again.layer is None


async def test_outputs_are_read_and_secrets_kept_out_of_them(executor: LocalExecutor) -> None:
    log = Log()
    command = (
        'echo version=1.2=3 >> "$STEPWELL_OUTPUT"; echo "leak=$KEY" >> "$STEPWELL_OUTPUT"; echo odd >> $STEPWELL_OUTPUT'
    )
    outcome = await run(executor, attempt(command), log, env={"KEY": "hunter22"}, masks=("hunter22",))
    assert outcome.ok and outcome.value["outputs"] == {"version": "1.2=3"}
    assert len(log.notes) == 2 and "leak" in log.notes[0]


async def test_secrets_come_as_variables_and_private_files(executor: LocalExecutor) -> None:
    log = Log()
    asked = attempt('echo "$KEY $PLAIN"; cat "$CONF"; stat -c %a "$CONF"', env={"PLAIN": "p", "KEY": "overridden"})
    outcome = await run(executor, asked, log, env={"KEY": "k"}, files={"CONF": "in file\n"})
    assert outcome.ok and log.data == b"k p\nin file\n600\n"


async def test_a_timeout_kills_everything(executor: LocalExecutor) -> None:
    log = Log()
    started = time.monotonic()
    outcome = await run(executor, attempt("echo before; (sleep 60 &) ; sleep 60", timeout=3.0), log)
    assert not outcome.ok and outcome.error is not None and outcome.error["type"] == "Timeout"
    assert outcome.error["message"] == "It did not end within 3 seconds, and was killed. Give it longer with timeout=."
    assert time.monotonic() - started < 50 and log.data == b"before\n"
    assert left_over(executor) == []


async def test_cancelling_kills_and_discards(executor: LocalExecutor) -> None:
    log = Log()
    running = asyncio.create_task(run(executor, attempt("echo $$; echo x > file; exec sleep 60"), log))
    await log.arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert left_over(executor) == []
    assert list((state_of(executor) / "layers").iterdir()) == []


async def test_output_after_the_first_megabytes_is_complete_and_bounded(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    assert (await run(executor, attempt("seq 1 300000; echo end"), log)).ok
    assert log.data.endswith(b"300000\nend\n") and log.data.count(b"\n") == 300001
    monkeypatch.setattr(executor, "_bounds", Bounds(output=1 << 20))
    for command in ("seq 1 300000; sleep 1000", "seq 1 300000"):
        log = Log()
        outcome = await run(executor, attempt(command, check=False), log)
        assert failure(outcome) == ("TooMuchOutput", OUTPUT_EXCEEDED)
        assert len(log.data) == 1 << 20 and log.notes == ["Only the first 1 MiB of the output are kept."]


@pytest.mark.parametrize("fills", ["head -c 4M /dev/zero > f$i", "mkdir $i; (cd $i; touch $(seq 1 200))"])
async def test_what_fills_the_disk_is_ended_and_removed(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch, fills: str
) -> None:
    monkeypatch.setattr(executor, "_bounds", Bounds(disk=32 << 20))
    bomb = f"i=0; while :; do i=$((i+1)); {fills}; sleep 0.05; done"
    kind, message = failure(await run(executor, attempt(bomb, timeout=60.0)))
    assert kind == "TooMuchDisk" and "STEPWELL_STEP_DISK_GB" in message
    assert left_over(executor) == []


async def test_limits_that_are_exceeded_are_named_with_what_raises_them(executor: LocalExecutor) -> None:
    isolates = executor._isolates
    assert isinstance(isolates, ZygoteIsolates)
    if not isolates.walled or not isolates._cgroups.version:
        pytest.skip("limits of whole steps need the wall and cgroups")
    forks = "import os, time\nfor _ in range(100):\n  if not os.fork(): time.sleep(100)"
    for asked, type_, message in [
        (attempt("tail /dev/zero", memory=64 << 20), "OutOfMemory", "out of memory (limit 64 MiB)"),
        (attempt(["python", "-c", forks], processes=20), "TooManyProcesses", "out of processes (limit 20)"),
        (attempt("head -c 600M /dev/zero > /tmp/f", memory=1 << 30), "DiskFull", "Its /tmp is full"),
        (attempt("kill -XFSZ $$"), "FileTooLarge", "No file may be larger"),
        (attempt("sh -c 'kill -XFSZ $$'; exit $?", check=False), "FileTooLarge", "No file may be larger"),
    ]:
        outcome = await run(executor, asked)
        kind, said = failure(outcome)
        assert (kind, message in said) == (type_, True), said
    passing = await run(executor, attempt(["python", "-c", f"{forks.replace('100)', '3)', 1)}"], processes=20))
    assert passing.ok


async def test_connections_of_a_step_are_told_in_its_log_and_kept(executor: LocalExecutor) -> None:
    if not executor._isolates.walled:
        pytest.skip("without the wall a step has the host's network")
    fetch = "import urllib.request\ntry: urllib.request.urlopen('http://10.0.0.1/')\nexcept OSError: pass\n"
    log = Log()
    outcome = await run(executor, attempt(["python", "-c", fetch * 2], network=["10.0.0.1"]), log)
    assert outcome.ok
    place = "network: 10.0.0.1:80 refused (10.0.0.1 is not a public address)"
    assert log.notes == [place, f"{place} 2 times"]
    kept = {"host": "10.0.0.1", "port": 80, "refused": "10.0.0.1 is not a public address", "count": 2}
    assert outcome.connections == {"places": [{**kept, "sent": 0, "received": 0}], "others": 0}
    silent = await run(executor, attempt("true", network=["10.0.0.1"]))
    assert silent.connections is None


async def test_connections_that_a_failed_setup_asked_for_are_kept(executor: LocalExecutor) -> None:
    if not executor._isolates.walled:
        pytest.skip("without the wall a setup has the host's network")
    fetch = "python -c \"import urllib.request as u; u.urlopen('http://10.0.0.1/')\""
    outcome = await run(executor, attempt("true", setup=fetch))
    assert failure(outcome)[0] == "SetupFailed"
    assert outcome.connections is not None
    assert outcome.connections["places"][0]["host"] == "10.0.0.1"


async def test_parallel_siblings_may_write_the_same_report(executor: LocalExecutor) -> None:
    def sibling(number: int) -> Attempt:
        return attempt(
            f"echo {number} > junit.xml; mkdir out; echo a > out/a",
            key=f"test#{number}",
            junit=["junit.xml"],
            artifacts=["out/**"],
        )

    outcomes = await asyncio.gather(*(run(executor, sibling(number)) for number in (1, 2, 3)))
    assert all(outcome.ok and outcome.layer is None for outcome in outcomes), outcomes
    for number, outcome in enumerate(outcomes, 1):
        assert kept(executor, outcome, "reports") == {"junit.xml": f"{number}\n".encode()}
        assert kept(executor, outcome, "artifacts") == {"out/a": b"a\n"}


async def test_reports_show_no_secret_of_their_step(executor: LocalExecutor) -> None:
    report = (
        '<testsuite><testcase classname="c" name="n hunter&amp;22"><failure message="is &quot;hunter&amp;22&quot;">'
        'assert "hunter&amp;22"\n%s</failure></testcase><testcase classname="c" name="plain"/></testsuite>'
    )
    command = f'printf \'{report}\' "$(printf %s "$KEY" | base64)" > junit.xml'
    asked = attempt(command, junit=["junit.xml"])
    outcome = await run(executor, asked, env={"KEY": "hunter&22"}, masks=("hunter&22",))
    assert outcome.ok and outcome.collected
    blobs = BlobFiles(state_of(executor) / "blobs")
    told = json.loads(blobs.path("run-1", outcome.collected["tests"]["id"]).read_bytes())["cases"]
    assert [case["name"] for case in told] == ["n ***", "plain"]
    assert told[0]["message"] == 'is "***"' and told[0]["text"].startswith('assert "***"\n***')


async def test_reports_of_failed_steps_are_kept_too(executor: LocalExecutor) -> None:
    failed = await run(executor, attempt("echo x > junit.xml; exit 1", junit=["junit.xml"]))
    assert not failed.ok
    assert kept(executor, failed, "reports") == {"junit.xml": b"x\n"}


def kept(executor: LocalExecutor, outcome: Outcome, kind: str) -> dict[str, bytes]:
    """Path and content of the files that were collected."""
    assert outcome.collected
    blobs = BlobFiles(state_of(executor) / "blobs")
    listed = json.loads(blobs.path("run-1", outcome.collected["id"]).read_bytes())
    return {path: blobs.path("run-1", listed["blobs"][n]).read_bytes() for path, _, n in listed[kind]}


async def test_artifacts_are_files_of_the_workspace_whatever_they_are_called(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = """
        mkdir -p out/deep; echo 1 > out/deep/a; ln out/deep/a out/hard; ln -s /etc/passwd out/etc; ln -s deep out/folder
        ln -s ../../../key out/up; ln -s /etc out/d; mkfifo out/pipe; printf x > "out/$(printf 'bad\\377')"
        printf y > 'out/..x'
    """
    log = Log()
    outcome = await run(executor, attempt(made, artifacts=["out/**"]), log)
    assert outcome.ok, outcome
    assert kept(executor, outcome, "artifacts") == {
        "out/deep/a": b"1\n", "out/hard": b"1\n", "out/bad\\udcff": b"x", "out/..x": b"y",
    }  # fmt: skip
    assert log.notes == [
        "Links are not collected, only files: out/d, out/etc, out/folder, out/up.",
        "Not kept: out/pipe (a FIFO). A workspace has files, directories and links, without setuid and setgid.",
    ]
    monkeypatch.setattr(
        executor._settler._collector, "_artifacts", Bound(bytes=1 << 20, raised_by="STEPWELL_ARTIFACTS_MB")
    )
    kind, message = failure(await run(executor, attempt("truncate -s 6G sparse", artifacts=["sparse"])))
    assert kind == "TooMuchCollected" and "6,442,450,944 bytes; at most 1,048,576 (1 MiB)" in message
    log = Log()
    assert failure(await run(executor, attempt("truncate -s 6G s; exit 4", artifacts=["s"]), log))[1] == "exit code 4"
    assert "at most 1,048,576" in log.notes[0] and left_over(executor) == []


async def test_erasing_runs_removes_their_files_and_no_others(executor: LocalExecutor) -> None:
    one = await run(executor, attempt("echo y > file"))
    other = await run(executor, dataclasses.replace(attempt("echo y > file"), run=".."))
    assert one.layer and other.layer
    with removals_held(state_of(executor)):
        await executor.drop([one.layer])  # a backup is being made
    assert await executor.missing([one.layer]) == []
    await executor.erase(["run-1"], [one.layer])
    await executor.erase(["run-1"], [one.layer])  # as after a crash in the middle of it
    assert await executor.missing([one.layer, other.layer]) == [one.layer]


async def test_parallel_changes_of_tracked_files_conflict(executor: LocalExecutor, tmp_path: Path) -> None:
    commit = make_repository(state_of(executor) / "repos" / "r1.git", {"src/f": "old\n"})
    code = Code("digest", {}, "pipeline.py:Ship", tree=f"r1:{commit}")
    one = await run(executor, dataclasses.replace(attempt("cat src/f; echo 1 > src/f", key="one#1"), code=code))
    assert one.ok and one.layer, one
    two = await run(executor, dataclasses.replace(attempt("echo 2 > src/f", key="two#1"), code=code))
    assert not two.ok and two.final and two.error is not None
    assert two.error["type"] == "WorkspaceConflict" and "src/f" in two.error["message"]
    assert left_over(executor) == []


def make_repository(path: Path, files: Mapping[str, str]) -> str:
    """Make a bare repository with one commit; its hash."""
    work = path.with_suffix(".work")
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    who = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**environment(), **who}
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "c"], ["clone", "-q", "--bare", ".", path]):
        subprocess.run(["git", *command], cwd=work, env={**env, "GIT_CONFIG_COUNT": "0"}, check=True)
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=work, env=env, text=True).strip()


async def test_read_returns_text_as_the_step_would_see_it(executor: LocalExecutor) -> None:
    command = "echo hello > a; mkdir d; ln -s a link; ln -s /etc/passwd out; ln -s ../../etc/passwd up; ln -s l l"
    command += "; ln -s /work\"\"space/a in; printf '\\377' > b; truncate -s 2M big"
    made = await run(executor, attempt(command))
    assert made.layer, made

    async def read(path: str) -> Outcome:
        asked = dataclasses.replace(attempt("", (made.layer or "",)), kind="read", options={"path": path})
        return await run(executor, asked)

    for path in ("a", "./d/../a", "link", "in"):
        assert (await read(path)).value == "hello\n"
    for path, words in {
        "out": "leads out",
        "up": "leads out",
        "../x": "leads out",
        "missing": "no file",
        "a/b": "not a directory",
        "l": "more than 40",
        "d": "is a directory",
        "b": "not UTF-8",
        "big": "at most",
    }.items():
        refused = await read(path)
        assert not refused.ok and refused.final and refused.error is not None and words in refused.error["message"]


async def test_a_full_disk_is_named(small_disk: Path) -> None:
    isolates = ZygoteIsolates(small_disk, lambda _: small_disk)
    await isolates.start()
    if not isolates.walled:
        pytest.skip("this host does not give the wall")
    try:
        executor = LocalExecutor.at(small_disk, isolates)
        outcome = await run(executor, attempt("head -c 64M /dev/zero > big"))
        assert not outcome.ok and outcome.error is not None and outcome.error["type"] == "DiskFull"
        assert "disk that holds the workspace is full" in outcome.error["message"]
        assert (await run(executor, attempt("echo fine > small"))).layer
    finally:
        await isolates.stop()


async def test_refusals_are_final_and_say_what_to_write(executor: LocalExecutor) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"cwd": "../.."}, "outside of the workspace"),
        ({"python": "2.7"}, 'image="python:2.7-slim"'),
        ({"tools": ["--index-url=x"]}, "Write a package with its version"),
    ]
    for options, words in refused:
        outcome = await run(executor, attempt("true", **options))
        assert not outcome.ok and outcome.final and outcome.error is not None and words in outcome.error["message"]


async def test_recover_removes_what_a_crash_left(executor: LocalExecutor) -> None:
    kept = await run(executor, attempt("echo 1 > a", key="one#1"))
    lost = await run(executor, attempt("echo 1 > b", key="two#1"))
    assert kept.layer and lost.layer
    executor._workspaces.open("run-1", "cut#1", (kept.layer,), None, "copy")
    await executor.recover(lambda layer: layer == kept.layer, lambda run: False)
    assert left_over(executor) == []
    assert (await run(executor, attempt("cat a", (kept.layer,), "three#1"))).ok
    await executor.forget("run-1")
    assert await executor.missing([kept.layer, lost.layer]) == [lost.layer]
    await executor.drop([kept.layer])
    assert list((state_of(executor) / "layers").iterdir()) == []


@pytest.mark.parametrize("executor", ["full"], indirect=True)
async def test_a_zygote_that_dies_with_the_workspace_attached_costs_a_new_workspace(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has attached is spent, and a volatile overlay mounts once: neither can serve again."""
    claim = Blank.claim
    killed: list[int] = []

    async def claim_and_die(self: Blank, order: Order) -> tuple[Isolate, list[int]]:
        isolate, received = await claim(self, order)
        if not killed:
            assert " /workspace " in Path(f"/proc/{isolate.pid}/mountinfo").read_text()
            killed.append(int(Path(f"/proc/{isolate.pid}/stat").read_text().rsplit(")", 1)[1].split()[1]))
            os.kill(killed[0], signal.SIGKILL)
            raise Gone("zygote")
        return isolate, received

    monkeypatch.setattr(Blank, "claim", claim_and_die)
    log = Log()
    outcome = await run(executor, attempt("echo here > made && ls"), log)
    assert outcome.ok and outcome.layer and killed, outcome
    assert log.data == b"made\n"
