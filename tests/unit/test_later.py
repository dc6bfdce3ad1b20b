"""Work that begins after a moment: when it is due, before that when asked, and never twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from stepwell_runners.later import Later

FAR = 3600.0


def test_what_is_due_first_is_done_first_whenever_it_was_asked_for() -> None:
    done: list[str] = []
    later = Later()
    with ThreadPoolExecutor(1) as executor:
        far = later.after(FAR, executor, lambda: done.append("far"))
        later.after(0.01, executor, lambda: done.append("soon")).done.result(20)
        later.after(0.01, executor, lambda: done.append("soon again")).done.result(20)
        assert done == ["soon", "soon again"]
        assert not far.done.done()


def test_work_that_is_not_due_is_done_when_asked_and_only_once() -> None:
    done: list[str] = []
    with ThreadPoolExecutor(1) as executor:
        due = Later().after(FAR, executor, lambda: done.append("it"))
        due.now()
        due.now()
        due.done.result(20)
    assert done == ["it"]


def test_an_error_is_told_and_what_comes_after_is_done() -> None:
    later = Later()
    with ThreadPoolExecutor(1) as executor:
        broken, whole = later.after(0, executor, lambda: print(1 // 0)), later.after(0, executor, lambda: None)
        assert isinstance(broken.done.exception(20), ZeroDivisionError)
        assert whole.done.result(20) is None


def test_work_for_an_executor_that_has_ended_is_refused() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    due = Later().after(0, executor, lambda: None)
    with pytest.raises(RuntimeError, match="shutdown"):
        due.done.result(20)
