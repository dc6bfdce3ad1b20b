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


def test_a_long_name_ends_before_its_time_begins() -> None:
    for sign in ("i", "x", "W", "測", "_"):
        svg = graph.draw([replace(node(sign * 60), detail="1h 05m")], "g")
        shown = re.search(r'width="([\d.]+)" height="34"><text y="21.5">(\S+)</text>', svg)
        assert shown is not None
        assert shown[2].endswith("…")
        assert graph.text_width(shown[2][:-1], graph.LABEL) < float(shown[1])
        assert float(shown[1]) + 34 + 10 + graph.text_width("1h 05m", graph.DETAIL) < graph.WIDTH


def test_a_short_name_is_written_whole() -> None:
    assert graph.fit("build image", 100, graph.LABEL) == "build image"


def test_the_stem_of_a_name_is_found_in_one_go() -> None:
    names = ("test 3.12", "test (3.12)", "lint", "a1)b", "shard-2/10", "build [x86_64]", "42", "deploy: eu.1")
    assert [stem(name) for name in names] == ["test", "test", "lint", "a1)b", "shard-2", "build", "42", "deploy"]
    assert stem("1" * 50_000 + "!") == "1" * 50_000 + "!"
