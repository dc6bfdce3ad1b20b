import re
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stepwell_web import graph
from stepwell_web.graph import Node, stem
from stepwell_web.graph_layout import layout, reduce


def node(id: str, *needs: str, state: str = "passed") -> Node:
    return Node(id, id, state, f"?step={id}", needs)


def test_an_edge_is_left_out_where_a_longer_way_says_the_same() -> None:
    assert reduce({"a": [], "b": ["a"], "c": ["a", "b"]})["c"] == ["b"]


def test_a_step_stands_right_of_all_it_needs() -> None:
    place = layout({"a": [], "b": ["a"], "c": ["b"], "d": ["a"]}, 34)
    column = {spot: n for n, spots in enumerate(place.columns) for spot in spots}
    assert column["a"] < column["b"] < column["c"]
    assert column["d"] == 1


@given(
    st.integers(1, 14).flatmap(
        lambda n: st.tuples(*(st.sets(st.integers(0, max(0, i - 1)), max_size=3) for i in range(n)))
    )
)
def test_no_two_boxes_of_a_column_overlap(parents: tuple[set[int], ...]) -> None:
    needs = {str(i): [str(p) for p in above if p < i] for i, above in enumerate(parents)}
    place = layout(needs, 34)
    for column in place.columns:
        boxes = [place.middle[spot] for spot in column if isinstance(spot, str)]
        assert all(b - a >= 34 for a, b in pairwise(boxes))


def test_siblings_of_a_matrix_are_one_box_in_their_most_telling_state() -> None:
    tests = [node(f"test 3.{n}", "setup") for n in range(11, 15)]
    tests[2] = replace(tests[2], state="failed")
    boxes = graph.collapse([node("setup"), *tests, node("ship", *(t.id for t in tests))])
    assert [(b.label, b.state) for b in boxes] == [("setup", "passed"), ("test × 4", "failed"), ("ship", "passed")]
    assert boxes[1].href == "?step=test 3.13"
    assert boxes[2].needs == (boxes[1].id,)


def test_the_count_of_siblings_stands_beside_their_name_which_may_be_shortened() -> None:
    svg = graph.draw([replace(node(f"package <{n}"), detail="3ms") for n in range(198)], "Steps")
    assert '<div class="node-text"><span>package &lt;</span><b>× 198</b><small>3ms</small></div>' in svg


def test_three_siblings_stay_apart() -> None:
    assert len(graph.collapse([node(f"test {n}") for n in range(3)])) == 3


def test_names_are_escaped_and_no_style_comes_out() -> None:
    svg = graph.draw([node("<script>alert(1)</script>"), node('"onload="x', "<script>alert(1)</script>")], "a & b")
    assert "<script" not in svg
    assert "style=" not in svg
    assert re.search(r' onload="', svg) is None
    assert 'aria-label="a &amp; b"' in svg


def test_an_edge_says_what_feeds_what_runs() -> None:
    svg = graph.draw([node("a"), node("b", "a", state="running"), node("c", "a", state="queued"), node("d", "a")], "g")
    assert all(f'class="edge {kind}"' in svg for kind in ("busy", "todo", "done"))


def test_two_hundred_steps_are_drawn() -> None:
    nodes = [node(f"s{i}x", *((f"s{i - 3}x",) if i > 2 else ())) for i in range(200)]
    assert graph.draw(nodes, "big").count("<rect") == 200


def test_a_wide_graph_is_several_pictures_side_by_side() -> None:
    names = [f"{chr(97 + i)}x" for i in range(20)]
    chain = [node(name, *names[max(0, i - 1) : i]) for i, name in enumerate(names)]
    drawn = graph.draw([*chain, node("end", "tx")], "g")
    pictures = re.findall(r'<div class="graph-part">(.*?)</svg></div>', drawn)
    boxes = [re.findall(r'aria-label="(\w+): passed"', one) for one in pictures]
    assert boxes == [names[:8], names[8:16], [*names[16:], "end"]]
    assert re.findall(r'aria-label="g, part (\d) of 3"', drawn) == ["1", "2", "3"]
    sizes = [tuple(map(int, found)) for found in re.findall(r'class="graph" viewBox="(\d+) 0 (\d+) ', drawn)]
    assert all(left + width == following for (left, width), (following, _) in pairwise(sizes))
    assert sizes[1][1] == graph.PART * (graph.WIDTH + graph.GUTTER)  # as run.css has it


def test_an_edge_is_drawn_in_each_picture_that_it_passes_through() -> None:
    names = [f"{chr(97 + i)}x" for i in range(25)]
    chain = [node(name, *names[max(0, i - 1) : i]) for i, name in enumerate(names)]
    lint = node("lint", "ax", state="failed")
    drawn = graph.draw([*chain, lint, node("end", "yx", "lint", state="skipped")], "g")
    pictures = drawn.split("</svg></div>")[:-1]
    assert len(pictures) == 4 and all('class="edge dead"' in one for one in pictures)
    ways = [re.findall(r'class="edge done" d="(.*?)"', one)[0].count("M") for one in pictures]
    assert ways == [7 + 1 + 1, 1 + 7 + 1, 1 + 7 + 1, 1]  # between its boxes, over its bounds, to lint


def crowd(count: int, state: str = "passed", *needs: str) -> list[Node]:
    """Steps of which no two have a stem in common."""
    return [
        replace(node(f"{state}-{'x' * (n + 1)}", *needs, state=state), detail=f"{n}s", seconds=float(n))
        for n in range(count)
    ]


def test_a_box_of_siblings_says_how_long_the_longest_took() -> None:
    tests = [replace(node(f"test 3.{n}"), detail=f"{n}s", seconds=float(n)) for n in (11, 14, 13, 12)]
    tests[0] = replace(tests[0], state="failed")
    (box,) = graph.collapse(tests)
    assert (box.label, box.state, box.detail, box.href) == ("test × 4", "failed", "14s", "?step=test 3.11")


def test_the_time_of_a_box_grows_while_its_longest_step_goes_on() -> None:
    tests = [replace(node(f"test {n}"), detail=f"{n}s", seconds=float(n)) for n in range(1, 5)]
    tests[3] = replace(tests[3], state="running", since=1000.5)
    drawn = graph.draw([node("setup"), *tests], "Steps")
    assert drawn.count("data-since") == 1 and '<small data-since="1000.5">4s</small>' in drawn
    tests[0], tests[3] = replace(tests[0], seconds=9.0, detail="9s"), replace(tests[3], seconds=4.0)
    assert "data-since" not in graph.draw([node("setup"), *tests], "Steps")


def test_of_a_crowd_those_that_passed_are_one_box() -> None:
    boxes = graph.collapse([node("checkout"), *crowd(60, "passed", "checkout"), node("ship", "passed-xxx")])
    assert [(b.label, b.detail, b.steps) for b in boxes] == [
        ("checkout", "", 1),
        ("60 passed", "59s", 60),
        ("ship", "", 1),
    ]
    assert boxes[1].href == graph.LIST
    drawn = graph.draw([node("checkout"), *crowd(60, "passed", "checkout")], "Steps")
    assert '<a href="#steps" class="node' in drawn and '<a href="?step=checkout" data-step' in drawn
    assert boxes[2].needs == (boxes[1].id,)


def test_ten_steps_side_by_side_are_no_crowd() -> None:
    assert len(graph.collapse(crowd(10))) == 10
    assert len(graph.collapse(crowd(11))) == 1


def test_what_people_look_for_in_a_crowd_stays_apart() -> None:
    states = ("failed", "running", "retrying", "waiting")
    nodes = [*crowd(9), *(node(state, state=state) for state in states), *crowd(5, "queued"), *crowd(1, "skipped")]
    nodes[3] = replace(nodes[3], selected=True)
    boxes = graph.collapse(nodes)
    assert [b.label for b in boxes] == ["8 passed", "passed-xxxx", *states, "5 queued", "skipped-x"]


def test_a_crowd_behind_a_crowd_is_one_too() -> None:
    first = crowd(11)
    second = [node(f"after-{one.id}", one.id) for one in first]
    boxes = graph.collapse([*first, *second])
    assert [(b.label, b.needs) for b in boxes] == [("11 passed", ()), ("11 passed", (boxes[0].id,))]


def test_a_matrix_in_a_crowd_counts_with_all_its_steps() -> None:
    boxes = graph.collapse([*crowd(10), *(node(f"test {n}") for n in range(4))])
    assert [(b.label, b.steps) for b in boxes] == [("14 passed", 14)]


@given(st.integers(1, 60).flatmap(lambda n: st.lists(st.integers(0, 3), min_size=n, max_size=n)))
def test_every_box_stands_behind_all_that_it_needs(rows: list[int]) -> None:
    nodes: list[Node] = []
    for n, row in enumerate(rows):
        above = [one.id for one in nodes if one.seconds < row][-9:]
        nodes.append(replace(node(f"s{'x' * n}", *above), seconds=float(row)))
    boxes, seen = graph.collapse(nodes), set[str]()
    for box in boxes:
        assert set(box.needs) <= seen
        seen.add(box.id)
    assert sum(box.steps for box in boxes) == len(nodes)


def test_the_stem_of_a_name_is_found_in_one_go() -> None:
    names = ("test 3.12", "test (3.12)", "lint", "a1)b", "shard-2/10", "build [x86_64]", "42", "deploy: eu.1")
    assert [stem(name) for name in names] == ["test", "test", "lint", "a1)b", "shard-2", "build", "42", "deploy"]
    assert stem("1" * 50_000 + "!") == "1" * 50_000 + "!"
