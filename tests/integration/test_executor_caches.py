"""`cache=` in real isolates, with and without overlays: there before the command, kept after it passed, in no layer."""

from dataclasses import replace
from typing import Any

import pytest
from logged import Log, attempt

from stepwell.engine.seams import Attempt, CacheRights, Outcome, Prepared
from stepwell_runners import caching
from stepwell_runners.executor import LocalExecutor

CACHE = {"key": "deps-{lock}", "paths": ["lib/deps"], "fallback": ["deps-"]}
MAIN = CacheRights(("main",), "main")


async def run(executor: LocalExecutor, asked: Attempt, rights: CacheRights = MAIN) -> tuple[Outcome, Log]:
    log = Log()
    return await executor.execute(asked, Prepared(caches=rights), log), log


def cached(command: str, base: tuple[str, ...] = (), **options: Any) -> Attempt:
    return attempt(command, base, **{"cache": [CACHE], **options})


async def lock(executor: LocalExecutor, text: str) -> tuple[str, ...]:
    """A layer with the file that the key names."""
    outcome, _ = await run(executor, attempt(f"echo {text} > lock", key=f"lock {text}#1"))
    assert outcome.layer
    return (outcome.layer,)


async def test_a_cache_is_restored_changed_and_saved_under_its_new_key(executor: LocalExecutor) -> None:
    one, two = await lock(executor, "1"), await lock(executor, "2")
    fill = (
        "mkdir -p lib/deps/d lib/own; echo a > lib/deps/a; echo b > lib/deps/d/b; ln -s a lib/deps/l; echo > lib/own/o"
    )
    made, log = await run(executor, cached(fill, one))
    assert made.ok and made.layer, made
    assert "is not there yet" in log.notes[0] and log.notes[1].endswith("is saved: 2 files, 4 bytes.")
    seen = "test ! -e lib/deps && cat lib/own/o"
    assert (await run(executor, attempt(seen, (*one, made.layer), key="look#1")))[0].ok  # in no layer

    unchanged, log = await run(executor, cached("cat lib/deps/d/b lib/deps/l", one))
    assert unchanged.ok and unchanged.layer is None and log.text == "b\na\n"
    assert [note.partition(" of main ")[2] for note in log.notes] == ["is restored: 2 files."]

    change = "rm -r lib/deps/d; echo new > lib/deps/d; echo c >> lib/deps/a; mkdir lib/deps/e; chmod 500 lib/deps/e"
    changed, log = await run(executor, cached(change, two, artifacts=["lib/deps/*"]))
    assert changed.ok and changed.layer is None and changed.collected, changed
    assert changed.collected["artifacts"] == 2 and log.notes[-1].endswith("is saved: 2 files, 8 bytes.")
    again, log = await run(executor, cached("cat lib/deps/d lib/deps/a; stat -c %a lib/deps/e", two))
    assert again.ok and log.text == "new\na\nc\n700\n"
    old, log = await run(executor, cached("cat lib/deps/a", one))  # shares files with the new one, and is as it was
    assert old.ok and log.text == "a\n"


async def test_branches_have_their_own_and_runs_without_one_save_nothing(executor: LocalExecutor) -> None:
    topic = CacheRights(("topic", "main"), "topic")
    make = "mkdir -p lib/deps; echo $0 > lib/deps/who"
    for who, rights in (("main", MAIN), ("topic", topic)):
        assert (await run(executor, cached(make.replace("$0", who)), rights))[0].ok
    for rights, who in ((MAIN, "main"), (topic, "topic"), (CacheRights(("other", "main"), "other"), "main")):
        assert (await run(executor, cached("cat lib/deps/who"), rights))[1].text == f"{who}\n"
    stranger = replace(cached("test ! -e lib"), metadata={"repository": "another"})
    assert (await run(executor, stranger))[0].ok
    tag = CacheRights(("main",), None)
    _, log = await run(executor, cached("echo x > lib/deps/who"), tag)
    assert "only runs of branches save caches" in log.notes[-1]


async def test_a_key_that_no_file_makes_and_one_of_other_paths_are_noted(executor: LocalExecutor) -> None:
    made, log = await run(executor, cached("mkdir -p lib/deps; echo 1 > lib/deps/a"))
    assert made.ok and log.notes[0] == (
        "Cache deps-{lock}: no file matches lock, so that part of the key never changes. A pattern begins at the top "
        "of the workspace: **/NAME finds a file anywhere."
    )
    locked = await lock(executor, "1")
    _, log = await run(executor, cached("mkdir -p lib/deps; echo 1 > lib/deps/a", locked))
    assert not any("no file matches" in note for note in log.notes)
    elsewhere = [{"key": "deps-{lock}", "paths": ["lib/other"]}]
    _, log = await run(executor, cached("test ! -e lib/other", locked, cache=elsewhere))
    assert log.notes[0].endswith(" is not there yet. That of the same key with lib/deps is another one: paths count.")
    _, log = await run(executor, cached("cat lib/deps/a", locked))
    assert log.text == "1\n" and not any("paths count" in note for note in log.notes)


async def test_only_what_passed_is_saved_and_every_refusal_is_noted(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, _ = await run(executor, cached("mkdir -p lib/deps; echo bad > lib/deps/a; exit 1"))
    assert not failed.ok
    nothing, log = await run(executor, cached("test ! -e lib"))
    assert nothing.ok and "there is nothing at lib/deps" in log.notes[-1]
    hostile = (
        "mkdir -p lib/deps; mkfifo lib/deps/p; ln -s /etc/passwd lib/deps/l; echo 1 > lib/deps/a; chmod 6755 lib/deps/a"
    )
    assert (await run(executor, cached(hostile)))[0].ok
    seen = "test ! -p lib/deps/p && readlink lib/deps/l && stat -c %a lib/deps/a"
    assert (await run(executor, cached(seen)))[1].text == "/etc/passwd\n755\n"
    theirs, _ = await run(executor, attempt("mkdir -p lib/deps; echo mine > lib/deps/a", key="make#1"))
    taken, log = await run(executor, cached("cat lib/deps/a", (theirs.layer or "",)))
    assert taken.ok and log.text == "mine\n" and "nothing is restored or saved" in log.notes[0]
    monkeypatch.setattr(caching, "MOST_BYTES", 1 << 20)
    _, log = await run(executor, cached("truncate -s 5G lib/deps/sparse"))
    assert "5,368,709,122 bytes; at most 300,000 of 0 GiB" in log.notes[-1]
    assert [path for path in executor._workspaces.work.iterdir() if path.is_dir()] == []
    executor._caching._files.remove("acme/acme/api")
    assert list((executor._workspaces.state / "caches").glob("*/content/*")) == []  # nobody holds one any more
