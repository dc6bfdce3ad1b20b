"""Programs and orders that Hypothesis invents for the engine's model; `programs/interpreted` plays them."""

from typing import Any

from hypothesis import strategies as st

from stepwell.engine.order import Order, Rate

TYPES = ("go", "stop")
RATE = Rate("k", 1, 60)
Program = list[list[Any]]


def _operation(kind: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(st.just(kind), *arguments).map(list)


def _operations() -> st.SearchStrategy[Program]:
    leaf = st.one_of(
        st.sampled_from([["do"], ["draw"]]).map(list),
        st.just(["undoable"]),
        _operation("flaky", st.integers(1, 2)),
        _operation("run", st.integers(0, 1)),
        _operation("sleep", st.sampled_from([1, 60, 3600])),
        _operation("event", st.sampled_from(TYPES), st.sampled_from([None, 60, 3600])),
        _operation("approval", st.sampled_from([None, 3600])),
    )

    def nested(inner: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
        some = st.lists(inner, min_size=1, max_size=2)
        return st.one_of(
            _operation("both", some, some),
            _operation("race", some, some),
            _operation("finally", some, some),
            _operation("limit", st.sampled_from([30, 600]), some),
            _operation("call", some),
        )

    return st.lists(st.recursive(leaf, nested, max_leaves=6), min_size=1, max_size=4)


def programs() -> st.SearchStrategy[Program]:
    """Draw a program: it returns, fails, also while something goes on beside, or continues as another one."""
    body = _operations()
    end = st.one_of(
        st.just([]),
        st.just([["both", [["undoable"]], [["undoable"]]], ["fail"]]),
        body.map(lambda beside: [["both", [["run", 0], ["fail"]], beside]]),
        st.tuples(body, body).map(lambda both: [["both", [["continue", both[0]]], both[1]]]),
        body.map(lambda more: [["continue", more]]),
    )
    return st.tuples(body, end).map(lambda parts: parts[0] + parts[1])


def may_fail(program: Any) -> bool:
    """Say whether a program has an operation that fails its run."""
    return isinstance(program, list) and (program[:1] == ["fail"] or any(map(may_fail, program)))


def orders() -> st.SearchStrategy[Order]:
    """Draw the place of a run among others."""
    group = st.sampled_from([*[("",)] * 3, *(("g", policy) for policy in ("queue", "newest", "cancel") for _ in "12")])
    return st.builds(
        lambda group, **more: Order(*group, **more),
        group,
        rate=st.sampled_from([None, None, None, RATE]),
        delay=st.sampled_from([*[None] * 6, 30, 3600]),
        priority=st.integers(-1, 1),
    )
