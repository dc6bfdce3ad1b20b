import re
from dataclasses import replace

from fixture_runs import NOW, busy_run, passed_run, step, summary

from stepwell.ci.views import RunView, StepView
from stepwell_web import runview, steplist
from stepwell_web.steplist import Item


def listed(view: RunView, selected: StepView | None = None) -> list[Item]:
    return steplist.listed(view.steps, runview.rows(view, selected, NOW))


def view_of(*steps: StepView) -> RunView:
    return replace(busy_run(), steps=steps, summary=summary())


def test_siblings_of_a_matrix_are_one_row_in_their_most_telling_state() -> None:
    items = {item.row.name: item for item in listed(busy_run())}
    group = items["unit × 4"]
    assert [member.name for member in group.members] == ["unit 3.11", "unit 3.12", "unit 3.13", "unit 3.14"]
    assert (group.row.state, group.row.time, group.summary) == ("failed", "1m 35s", "1 failed, 3 passed")
    assert "unit 3.11" not in items
    assert [item.row.name for item in listed(busy_run())][:5] == [
        "checkout", "install", "lint", "typecheck", "unit × 4",
    ]  # fmt: skip


def test_a_group_is_open_when_it_holds_the_chosen_step() -> None:
    view = busy_run()
    for name, expected in (("unit 3.12", True), ("lint", False)):
        chosen = next(one for one in view.steps if one.name == name)
        assert [item.open for item in listed(view, chosen) if item.members] == [expected]


def test_a_groups_bar_reaches_from_its_first_to_its_last_step() -> None:
    (group,) = [item for item in listed(busy_run()) if item.members]
    assert group.row.start == min(member.start for member in group.members)
    assert group.row.start + group.row.width == max(member.start + member.width for member in group.members)


def test_steps_of_one_name_after_different_steps_are_no_siblings() -> None:
    view = view_of(*(step(f"test {n}", "passed", n, 1, *([f"test {n - 1}"] if n else [])) for n in range(6)))
    assert [item.members for item in listed(view)] == [()] * 6


def test_two_groups_of_one_name_have_ids_of_their_own() -> None:
    steps = [step(f"test {n}", "passed", 0, 1) for n in range(4)]
    steps += [step(f"test {n}", "passed", 2, 1, "test 0", key=f"test {n}#2") for n in range(4)]
    ids = [item.id for item in listed(view_of(*steps))]
    assert len(ids) == len(set(ids)) == 2


def test_the_runs_own_output_stays_first_and_alone() -> None:
    view = replace(busy_run(), log_size=10)
    assert listed(view)[0].row.name == "Output of the run"


def test_a_phone_folds_groups_whose_steps_all_passed_and_counts_them() -> None:
    steps = [step(f"a {n}", "passed", 0, 1) for n in range(5)]
    steps += [step(f"b {n}", "failed" if n == 2 else "passed", 0, 1) for n in range(5)]
    items = listed(view_of(*steps))
    assert [(item.row.name, item.folded) for item in items] == [("a × 5", 5), ("b × 5", 0)]
    assert [item.folded for item in listed(passed_run())] == [0, 0]


def test_a_phone_folds_what_passed_beside_the_chosen_step_of_a_group() -> None:
    steps = [step(f"b {n}", "failed" if n == 2 else "passed", 0, 1) for n in range(5)]
    items = listed(view_of(*steps), steps[2])
    assert [(item.open, item.folded) for item in items] == [(True, 4)]
    assert re.findall('<li( class="is-folded")?><a class="step" href="[^"]*step=([^"&]+)', steplist.html(items)) == [
        (' class="is-folded"' if name != "b-2" else "", name) for name in ("b-0", "b-1", "b-2", "b-3", "b-4")
    ]  # fmt: skip
