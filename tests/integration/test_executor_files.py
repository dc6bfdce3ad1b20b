"""What a step leaves in its workspace, as later steps see it."""

from logged import Log, attempt

from stepwell.engine.seams import Prepared
from stepwell_runners.executor import LocalExecutor


async def test_a_changed_file_that_was_kept_as_an_artifact_is_named(executor: LocalExecutor) -> None:
    first = await executor.execute(attempt("mkdir dist; echo one > dist/app; echo same > dist/same"), Prepared(), Log())
    assert first.layer
    log = Log()
    asked = attempt("echo two > dist/app; echo new > dist/new", (first.layer,), "step#2", artifacts=["dist/**"])
    second = await executor.execute(asked, Prepared(), log)
    assert second.ok and second.layer is None
    [note] = log.notes
    assert note.startswith("Later steps see dist/app as before this step: ")
    third = Log()
    await executor.execute(attempt("cat dist/app; ls dist", (first.layer,), "step#3"), Prepared(), third)
    assert third.text.split() == ["one", "app", "same"]


async def test_a_directory_from_below_is_renamed_by_copying(executor: LocalExecutor) -> None:
    first = await executor.execute(attempt("mkdir src; echo one > src/file"), Prepared(), Log())
    assert first.layer
    again = 'python3 -c \'import shutil; shutil.move("lib", "moved")\''
    asked = attempt(f"mv src lib; {again}; cat moved/file; ls", (first.layer,), "step#2")
    second = await executor.execute(asked, Prepared(), log := Log())
    assert second.ok and log.text.split() == ["one", "moved"]
