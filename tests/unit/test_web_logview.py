import re

from fixture_logs import GROUPED, FixtureLog, huge_log
from fixture_runs import NASTY

from stepwell_web import logsearch, logview


def test_lines_have_numbers_anchors_and_times() -> None:
    html = logview.page(FixtureLog(b"one\ntwo\n"), "unit-3.11", 0)
    assert '<li id="unit-3.11:2" data-n="2"><time>' in html
    assert html.endswith("two</li>")


def test_a_log_cannot_leave_its_line() -> None:
    html = logview.page(FixtureLog(f"{NASTY}\n</li></ol>{NASTY}\n".encode()), '"><script>', 0)
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("</li>") == 2


def test_bytes_that_are_not_text_are_shown_as_such() -> None:
    assert "\ufffd" in logview.page(FixtureLog(b"\xff\xfe\n"), "s", 0)


def test_stepwells_own_lines_are_told_apart() -> None:
    assert 'class="note"' in logview.page(FixtureLog(b"\x1econtainer started\n"), "s", 0)


def test_a_long_log_is_sent_in_pages_as_they_are_needed() -> None:
    log = FixtureLog(huge_log())
    chunks = logview.chunks(log, "s", 20_000, range(10_100, 10_101))
    assert [(c.start, c.end) for c in chunks if c.html is not None] == [(1, 50), (10_001, 10_500)]
    assert [(c.start, c.end, c.fifties) for c in chunks[1:3]] == [(51, 500, 9), (501, 1000, 10)]
    assert (chunks[0].html or "").count("<li ") == 50


def test_far_from_what_is_wanted_a_place_stands_for_many_pages() -> None:
    log = FixtureLog(huge_log())
    chunks = logview.chunks(log, "s", 59_990, range(30_100, 30_101))
    assert [c.start for c in chunks] == [1, *(c.end + 1 for c in chunks[:-1])]
    assert [(c.start, c.end, c.fifties) for c in chunks if c.end - c.start >= logview.PAGE] == [
        (10_001, 20_000, 200), (20_001, 30_000, 200), (40_001, 50_000, 200),
    ]  # fmt: skip
    assert (chunks[-1].end, chunks[-1].fifties) == (59_990, 10)


def test_of_a_long_log_that_grows_the_end_is_there_and_of_one_linked_to_the_page() -> None:
    log = FixtureLog(huge_log())
    growing = logview.chunks(log, "s", 19_990, grows=True)
    assert [(c.start, c.end) for c in growing if c.html is not None] == [(1, 50), (19_501, 19_990)]
    linked = logview.chunks(log, "s", 20_000, range(300, 302))
    assert [(c.start, c.end) for c in linked if c.html is not None] == [(1, 500)]
    assert sum(c.end - c.start + 1 for c in linked) == 20_000


def test_a_log_of_five_thousand_lines_is_sent_whole() -> None:
    log = FixtureLog(b"x\n" * 5000)
    assert all(c.html is not None for c in logview.chunks(log, "s", 5000))


def test_a_page_begins_in_the_colour_of_the_lines_above_it() -> None:
    log = FixtureLog(b"\x1b[31mred from here\n" + b"on\n" * 600)
    assert '<span class="f1">on</span>' in logview.page(log, "s", 50, 1)


def test_the_first_error_is_found() -> None:
    log = FixtureLog(b"0 errors so far\nok\n\x1b[31mE       assert 1 == 2\x1b[0m\nE  more\n")
    assert logview.first_error(log, 4) == 3


def test_a_log_without_an_error_points_out_none() -> None:
    assert logview.first_error(FixtureLog(b"all good\nno error here\n"), 2) is None


def test_lines_that_a_link_leads_to_are_pointed_out_with_a_place_for_the_link() -> None:
    html = logview.page(FixtureLog(b"a\nb\nc\nd\n"), "s", 0, hits=range(2, 4))
    assert [n for n in range(1, 5) if f'data-n="{n}" class="hit"' in html] == [2, 3]
    assert '<i id="s:2-3"></i>' in html


def test_found_lines_are_quoted_as_links_with_nothing_of_theirs_executed() -> None:
    log = FixtureLog(f"\x1b[31m{NASTY}\x1b[0m\nother\n".encode())
    html = logview.quoted(log, "s", logsearch.find(log, "ALERT(1)"), "/r?step=s")
    assert html.count("<li") == 1
    assert '<a href="/r?step=s&amp;from=1#s:1">&lt;/script&gt;' in html
    assert "<script" not in html


def test_a_line_without_its_break_is_not_yet_shown_to_followers() -> None:
    assert logview.complete(FixtureLog(b"one\ntw")) == 1
    assert logview.complete(FixtureLog(b"one\ntwo\n")) == 2
    assert logview.complete(FixtureLog(b"")) == 0


def test_lines_that_belong_together_are_marked_where_they_begin_and_end() -> None:
    html = logview.page(FixtureLog(GROUPED), "s", 0, hits=range(2, 3))
    kinds = [re.findall(r'class="([^"]+)"', line)[:1] for line in html.split("<li ")[1:]]
    assert kinds == [[], ["group hit"], [], [], ["endgroup"], ["group"], [], ["endgroup"], []]
    assert "::group" not in html and "##[" not in html
    at = [float(found) for found in re.findall(r'class="(?:end)?group[^"]*" data-at="([^"]+)"', html)]
    assert [moment - at[0] for moment in at] == [0, 3, 4, 6]
    assert html.count("data-at") == 4


def test_a_groups_title_is_escaped_and_words_about_groups_begin_none() -> None:
    html = logview.page(FixtureLog(f"::group::{NASTY}\nuse ::group:: here\n::groups::x\n".encode()), "s", 0)
    assert "<script" not in html and html.count('class="group"') == 1
