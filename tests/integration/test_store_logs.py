"""Logs on disk: written by one thread, read at any line while they grow."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.store import log_files
from stepwell.store.log_files import NOTE
from stepwell.store.logs import Grown, LogStore


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogStore]:
    logs = LogStore(tmp_path / "logs", now=lambda: 1000.0)
    yield logs
    logs.close()


def written(logs: LogStore, *pieces: bytes | str, masks: tuple[str, ...] = (), key: str = "step#1") -> bytes:
    writer = logs.writer("run", key, 1, masks)
    for piece in pieces:
        writer.note(piece) if isinstance(piece, str) else writer.write(piece)
    writer.close()
    logs.flush()
    return logs.log("run", key, 1).read()


def test_secrets_do_not_reach_the_disk_however_they_are_written(logs: LogStore, tmp_path: Path) -> None:
    written(logs, b"a hun", b"ter22 b\n", "note of hunter22", masks=("hunter22",))
    for path in (tmp_path / "logs").rglob("*.*"):
        assert b"hunter22" not in path.read_bytes()
        assert b"hunt" not in path.read_bytes()


def test_a_note_waits_until_no_secret_can_be_cut_by_it(logs: LogStore) -> None:
    assert written(logs, b"a hun", "note", b"ter22 b\n", masks=("hunter22",)) == b"a *** b\n\x1enote\n"


def test_a_note_begins_a_line_of_its_own(logs: LogStore) -> None:
    assert written(logs, b"no end", "note", b"more") == b"no end\n\x1enote\nmore"


def test_a_command_cannot_forge_a_note(logs: LogStore) -> None:
    written(logs, b"\x1eforged\n")
    (line,) = logs.log("run", "step#1", 1).lines()
    assert not line.note
    assert line.text == "\N{SYMBOL FOR RECORD SEPARATOR}forged".encode()


def test_every_line_is_found_by_its_number(logs: LogStore) -> None:
    writer = logs.writer("run", "step#1", 1)
    for start in range(0, 3000, 7):
        writer.write(b"".join(b"line %d\n" % n for n in range(start, start + 7)))
        if start % 210 == 0:
            logs.flush()
    writer.close()
    logs.flush()
    log = logs.log("run", "step#1", 1)
    assert log.line_count == 3003
    for number in (0, 1, 499, 500, 501, 1499, 2999, 3002):
        line = log.lines(number, 1)[0]
        assert (line.number, line.text) == (number, b"line %d" % number)
    assert [line.number for line in log.lines(3000, 100)] == [3000, 3001, 3002]
    assert log.lines(3003) == []


def test_a_flood_of_empty_lines_is_found_by_number_and_has_a_small_index(logs: LogStore, tmp_path: Path) -> None:
    written(logs, b"first\n" + b"\n" * 1_000_000 + b"x" * 10_000 + b"\nlast\n")
    log = logs.log("run", "step#1", 1)
    assert [line.text for line in log.lines(1_000_002, 5)] == [b"last"]
    assert log.lines(500_000, 1)[0].number == 500_000 and log.line_count == 1_000_003
    (index,) = (tmp_path / "logs").rglob("*.idx")
    assert index.stat().st_size < 1_000_000 // 50


def test_what_is_not_in_the_file_yet_is_counted(logs: LogStore, tmp_path: Path) -> None:
    writer = logs.writer("run", "step#1", 1)
    assert writer.behind() == 0
    writer.write(b"words")
    writer.note("note")
    logs.flush()
    assert writer.behind() == 0


def test_a_line_without_its_end_counts(logs: LogStore) -> None:
    written(logs, b"a\nb")
    log = logs.log("run", "step#1", 1)
    assert (log.line_count, [line.text for line in log.lines()]) == (2, [b"a", b"b"])


def test_followers_hear_sizes_and_the_end(logs: LogStore) -> None:
    heard: list[Grown] = []
    stop = logs.follow(heard.append)
    size = len(written(logs, b"hello\n"))
    assert heard[-1] == Grown("run", "step#1", 1, size, ended=True)
    stop()
    written(logs, b"hello\n", key="other#1")
    assert {grown.key for grown in heard} == {"step#1"}


def test_a_follower_that_fails_does_not_end_the_logs(logs: LogStore, caplog: pytest.LogCaptureFixture) -> None:
    logs.follow(lambda _: 1 / 0)  # type: ignore[arg-type]
    assert written(logs, b"hello\n") == b"hello\n"
    assert "failed" in caplog.text


def test_a_second_writer_of_an_attempt_goes_on_below_the_first(logs: LogStore) -> None:
    written(logs, b"one\ntw")
    assert written(logs, "lost, tried again", b"three\n") == b"one\ntw\n\x1elost, tried again\nthree\n"
    assert logs.log("run", "step#1", 1).line_count == 4
    assert [line.text for line in logs.log("run", "step#1", 1).lines(2, 1)] == [b"lost, tried again"]


def test_attempts_and_keys_have_logs_of_their_own(logs: LogStore) -> None:
    for key in ("test 3.11#1", "test 3 11#1", "../../etc#1", "ä" * 200 + "#1", ""):
        logs.writer("run", key, 1).write(key.encode() or b"run")
        logs.writer("run", key, 2).write(b"again")
    logs.flush()
    assert logs.log("run", "../../etc#1", 1).read() == b"../../etc#1"
    assert logs.log("run", "test 3.11#1", 1).read() == b"test 3.11#1"
    assert logs.attempts("run", "test 3 11#1") == [1, 2]
    logs.remove("run")
    assert logs.attempts("run", "test 3 11#1") == []


def test_a_log_ends_at_its_limit_and_says_so(logs: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LIMIT", 1000)
    text = written(logs, b"x" * 5000, b"y" * 5000)
    assert text.startswith(b"x" * 1000 + b"\n" + NOTE + b"The log ends here")
    assert b"yy" not in text


def test_what_a_full_disk_refuses_is_noted_when_it_takes_again(logs: LogStore, tmp_path: Path) -> None:
    blocked = tmp_path / "logs"
    blocked.write_text("a file where the directory should be")
    writer = logs.writer("run", "step#1", 1)
    writer.write(b"lost\n")
    logs.flush()
    blocked.unlink()
    writer.write(b"kept\n")
    logs.flush()
    assert logs.log("run", "step#1", 1).read() == b"\x1e5 bytes are missing here: the disk did not take them.\nkept\n"


def test_many_threads_write_without_losing_a_line(logs: LogStore) -> None:
    writer = logs.writer("run", "step#1", 1)

    def write(name: int) -> None:
        for n in range(500):
            writer.write(b"%d %d\n" % (name, n))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    logs.flush()
    lines = [line.text for line in logs.log("run", "step#1", 1).lines(0, 5000)]
    assert len(lines) == 2000
    assert [line for line in lines if line.startswith(b"2 ")] == [b"2 %d" % n for n in range(500)]


def test_a_closed_store_writes_what_is_left_and_can_be_used_again(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    writer = logs.writer("run", "step#1", 1)
    writer.write(b"one\n")
    logs.close()
    assert logs.log("run", "step#1", 1).read() == b"one\n"
    writer.write(b"two\n")
    logs.close()
    assert logs.log("run", "step#1", 1).read() == b"one\ntwo\n"


def test_an_endless_line_is_shown_cut_and_numbered_right(logs: LogStore) -> None:
    written(logs, b"first\n" + b"x" * 3_000_000 + b"\nthird\n")
    log = logs.log("run", "step#1", 1)
    first, second, third = log.lines(0, 10)
    assert (first.text, third.text, third.number) == (b"first", b"third", 2)
    assert len(second.text) < 10_000 and second.text.endswith("… 2,991,808 more bytes".encode())
    assert log.line_count == 3


async def test_a_closed_log_that_was_waited_for_is_in_its_file(logs: LogStore) -> None:
    for number in range(50):
        writer = logs.writer("run", f"step#{number}", 1)
        writer.write(b"words of the step\n")
        writer.close()
        await writer.kept()
        assert logs.log("run", f"step#{number}", 1).path.read_bytes() == b"words of the step\n"
        await writer.kept()  # once more changes nothing


async def test_waiting_for_a_log_ends_when_the_disk_refuses_it(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the directory should be")
    logs = LogStore(tmp_path / "logs")
    writer = logs.writer("run", "step#1", 1)
    writer.write(b"lost words\n")
    writer.close()
    await asyncio.wait_for(writer.kept(), 60)
    assert not logs.log("run", "step#1", 1).path.exists()
    logs.close()


async def test_a_log_that_cannot_be_written_holds_up_no_step_and_no_other_log(logs: LogStore) -> None:
    broken, whole = logs.writer("run", "broken#1", 1), logs.writer("run", "whole#1", 1)
    logs.log("run", "broken#1", 1).path.mkdir(parents=True)  # a directory where the file should be
    for writer in (broken, whole):
        writer.write(b"words\n")
        writer.close()
    await asyncio.wait_for(broken.kept(), 60)
    await asyncio.wait_for(whole.kept(), 60)
    assert logs.log("run", "whole#1", 1).read() == b"words\n"
