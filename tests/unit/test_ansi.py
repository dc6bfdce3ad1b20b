import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell_web import ansi


def html(line: str) -> str:
    return ansi.render(line)[0]


def test_text_is_escaped() -> None:
    assert html('<script>alert("1")</script> & more') == '&lt;script&gt;alert("1")&lt;/script&gt; &amp; more'


def test_colours_become_classes_never_styles() -> None:
    assert html("\x1b[1;31mred\x1b[0m plain") == '<span class="b f1">red</span> plain'


def test_colour_goes_on_in_the_next_line_until_reset() -> None:
    first, style = ansi.render("\x1b[32mgreen")
    second, style = ansi.render("still\x1b[39m not", style)
    assert first == '<span class="f2">green</span>'
    assert second == '<span class="f2">still</span> not'
    assert style == ansi.PLAIN


@pytest.mark.parametrize(
    ("escape", "classes"),
    [
        ("38;5;9", "f9"),
        ("38;5;196", "f1"),
        ("38;2;30;30;30", "f0"),
        ("48;5;21", "g4"),
        ("97", "f15"),
        ("38:2:255:255:255", "f15"),
    ],
)
def test_large_palettes_are_drawn_with_the_sixteen_readable_colours(escape: str, classes: str) -> None:
    assert html(f"\x1b[{escape}mx") == f'<span class="{classes}">x</span>'


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("10%\r50%\r100%", "100%"),
        ("100%\r", "100%"),
        ("50%\x1b[2K\x1b[1G100%", "100%"),
        ("\x1b[31mold\r\x1b[0mnew", "new"),
    ],
)
def test_a_progress_bar_shows_what_the_terminal_would_show_last(line: str, shown: str) -> None:
    assert html(line) == shown


def test_links_lead_to_the_web_only() -> None:
    good = html("\x1b]8;;https://example.org/a?b=1&c=2\x07text\x1b]8;;\x07")
    assert good == '<a href="https://example.org/a?b=1&amp;c=2" rel="noopener noreferrer nofollow">text</a>'


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", 'https://x/"onmouseover=alert(1)', "https://a b"]
)
def test_other_links_are_plain_text(url: str) -> None:
    assert html(f"\x1b]8;;{url}\x1b\\text\x1b]8;;\x1b\\") == "text"


@pytest.mark.parametrize(
    "line", ["\x1b[1;31", "\x1b]0;title", "\x1b", "a\x00b\x08", "\x1bP secret \x1b\\", "\x1b[?25l"]
)
def test_what_is_cut_off_or_unknown_is_dropped(line: str) -> None:
    assert "\x1b" not in html(line)
    assert html(line) in ("", "ab")


def test_what_would_reorder_text_is_told_instead() -> None:
    assert html("user\u202eevil") == "user[U+202E]evil"
    assert html("\x1b[31mif \u2066a\u2069 < b") == '<span class="f1">if [U+2066]a[U+2069] &lt; b</span>'
    assert ansi.plain("\x1b[31muser\u202eevil") == "user[U+202E]evil"


@given(st.text(alphabet=st.sampled_from("\x1b[]0;8m31\r\x07\\<>&\"'hK ax"), max_size=60))
def test_no_line_makes_a_tag_of_its_own(line: str) -> None:
    shown = html(line)
    for piece in shown.split("<")[1:]:
        assert piece.startswith(("span class=", "/span>", "a href=", "/a>"))


def test_plain_text_is_what_a_search_reads() -> None:
    assert ansi.plain("\x1b[31mE   assert\x1b[0m 1") == "E   assert 1"


def test_an_unfinished_title_costs_no_more_than_its_length() -> None:
    before = time.process_time()
    ansi.render("\x1b]" * 20_000 + "\x07")
    ansi.plain("\x1b]0;" * 20_000 + "x\x07")
    assert time.process_time() - before < 2  # quadratic, it took half a minute, with the interpreter held


def test_a_colour_of_ten_thousand_digits_is_none() -> None:
    assert html(f"\x1b[{'9' * 10_000}mx") == "x"
