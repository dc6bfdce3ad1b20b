"""Parts of a run's page that are kept: never another run's, never an older moment's, and as the list is drawn anew."""

from dataclasses import replace

import pytest
from fixture_runs import NOW, passed_run, step

from stepwell.ci.views import RunView, StepView
from stepwell_web import runview, steplist
from stepwell_web.graph import MOST_EDGES, Node, draw
from stepwell_web.stepparts import FEW, MOST_SHOWN, StepParts


@pytest.fixture
def passed() -> RunView:
    return passed_run()


def steps(state: str = "passed") -> tuple[StepView, ...]:
    return tuple(step(f"check <{n}> it", state, n, 1) for n in range(FEW))


def over(view: RunView, **changes: object) -> RunView:
    told = replace(view.summary, state="passed", ended_at=NOW, **changes)  # type: ignore[arg-type]
    return replace(view, summary=told, steps=steps())


def test_parts_of_a_run_that_is_over_are_kept_for_each_chosen_step(passed: RunView) -> None:
    parts, view = StepParts(), over(passed)
    first = parts.of(view, None, NOW, None)
    assert parts.of(replace(view), None, NOW + 100, None) is first
    chosen = parts.of(view, view.steps[2], NOW, None)
    assert chosen.steps.count('aria-current="true"') == 1 and 'aria-current="true"' not in first.steps


def test_runs_of_two_tenants_with_equal_steps_share_no_part(passed: RunView) -> None:
    parts = StepParts()
    own = parts.of(over(passed, id="a", tenant="acme"), None, NOW, None)
    other = parts.of(over(passed, id="b", tenant="globex"), None, NOW, None)
    assert "/acme/" in own.steps and "/globex/" not in own.steps + own.graph
    assert "/globex/" in other.steps and "/acme/" not in other.steps + other.graph


def test_a_run_that_goes_on_or_has_changed_is_drawn_anew(passed: RunView) -> None:
    parts, going = StepParts(), replace(over(passed), summary=replace(passed.summary, ended_at=None, state="running"))
    assert parts.of(going, None, NOW, None) is not parts.of(going, None, NOW, None)
    assert parts.of(over(passed, seq=10), None, NOW, None) is not parts.of(over(passed, seq=11), None, NOW, None)


def test_a_name_cannot_write_html_into_the_list(passed: RunView) -> None:
    nasty = '<b title="x">&'
    view = replace(over(passed), steps=(step(nasty, "passed", 0, 1),))
    html = steplist.html(steplist.listed(view.steps, runview.rows(view, None, NOW)))
    assert "&lt;b title=&quot;x&quot;&gt;&amp;" in html and "<b" not in html


def test_short_addresses_are_those_of_the_steps_asked_about() -> None:
    one, other = steps(), (step("lint", "passed", 0, 1), step("lint", "passed", 1, 1, key="lint#2"))
    assert runview.slugs(one) is runview.slugs(one)
    assert list(runview.slugs(other).values()) == ["lint", "lint~2"]


def test_no_part_depends_on_what_the_visitor_may_do(passed: RunView) -> None:
    owner, viewer = (replace(over(passed), may_write=may) for may in (True, False))
    drawn = [StepParts().of(view, view.steps[0], NOW, None) for view in (owner, viewer)]
    assert drawn[0] == drawn[1] and "<form" not in drawn[0].steps + drawn[0].graph


def test_of_very_many_steps_those_that_tell_most_are_listed(passed: RunView) -> None:
    many = [step(f"s{n}", "passed", n, 1) for n in range(3 * MOST_SHOWN)]
    many[7] = step("bad", "failed", 7, 1)
    view, parts = replace(over(passed), steps=tuple(many)), StepParts()
    drawn = parts.of(view, view.steps[9], NOW, None)
    assert drawn.steps.count("data-step") == MOST_SHOWN // 2 + 2 and drawn.left == 3 * MOST_SHOWN - MOST_SHOWN // 2 - 2
    assert '?step=bad"' in drawn.steps and '?step=s9"' in drawn.steps
    assert f'?step=s{3 * MOST_SHOWN - 1}"' in drawn.steps and '?step=s8"' not in drawn.steps
    assert dict(drawn.legend) == {"passed": 3 * MOST_SHOWN - 1, "failed": 1}


def test_a_short_address_is_the_same_where_steps_are_left_out(passed: RunView) -> None:
    many = tuple(step("lint", "passed", n, 1, key=f"lint#{n + 1}") for n in range(MOST_SHOWN + 500))
    drawn = StepParts().of(replace(over(passed), steps=many), None, NOW, None)
    assert f'?step=lint~{MOST_SHOWN + 500}"' in drawn.steps and '?step=lint~2"' not in drawn.steps


def test_a_graph_of_too_many_edges_is_not_drawn() -> None:
    many = tuple(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(200))
    first = [Node(name, name, "failed", "/") for name in many]

    def after(count: int) -> list[Node]:
        return [*first, *(Node(f"{name}x", f"{name}x", "failed", "/", many) for name in many[:count])]

    assert "<svg" in draw(after(2), "small") and draw(after(MOST_EDGES // len(many) + 1), "large") == ""
