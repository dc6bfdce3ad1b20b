"""READMEs: what is kept of them, where their links lead, and what becomes of hostile ones."""

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from fixture_files import README
from fixture_runs import NASTY
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.repos.objects import TreeEntry
from stepwell_web import readme
from stepwell_web.readme import Place

HERE = Place("/acme/api", "main", "docs")
TAGS = {
    "a", "b", "blockquote", "br", "circle", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h3", "h4", "h5",
    "h6", "hr", "i", "img", "ins", "kbd", "li", "ol", "p", "path", "pre", "q", "rect", "s", "samp", "small", "span",
    "strong", "sub", "summary", "sup", "svg", "table", "tbody", "td", "th", "thead", "tr", "u", "ul", "var",
}  # fmt: skip
NAMES = {
    "href", "rel", "src", "alt", "width", "height", "loading", "id", "class", "start", "colspan", "rowspan", "open",
    "title", "aria-label", "aria-hidden", "role", "tabindex",
}  # fmt: skip


class Found(HTMLParser):
    """The elements of a text, and those that are open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def assert_harmless(html: str) -> None:
    found = Found(html)
    assert found.open == []
    for tag, attributes in found.tags:
        assert tag in TAGS
        if tag not in ("svg", "path", "rect", "circle"):  # our own icons
            assert set(attributes) <= NAMES
        assert not attributes.get("id") or str(attributes["id"]).startswith("readme-")
        if tag == "img":
            assert str(attributes["src"]).startswith("/acme/api/raw?")
        if tag == "a" and attributes.get("href"):
            assert urlsplit(str(attributes["href"]).replace("\\", "/")).scheme in ("", "http", "https", "mailto")


def links(text: str) -> list[str | None]:
    return [attributes.get("href") for tag, attributes in Found(readme.render(text, HERE)).tags if tag == "a"]


@pytest.mark.parametrize(
    ("written", "leads"),
    [
        ("../src/x.py#L3", "/acme/api/files?ref=main&path=src/x.py#L3"),
        ("guide.md#Set%20it-up!", "/acme/api/files?ref=main&path=docs/guide.md#readme-set-it-up"),
        ("/README.md?plain=1", "/acme/api/files?ref=main&path=README.md"),
        ("../../../etc/passwd", "/acme/api/files?ref=main&path=etc/passwd"),
        ("..", "/acme/api/files?ref=main"),
        ("a b&c=d", "/acme/api/files?ref=main&path=docs/a+b%26c%3Dd"),
        ("#Set-it-up", "#readme-set-it-up"),
        ("https://example.org/a?b#c", "https://example.org/a?b#c"),
        ("mailto:a@example.org", "mailto:a@example.org"),
    ],
)
def test_a_link_leads_into_the_repository_at_the_ref_or_away(written: str, leads: str) -> None:
    assert links(f"[a](<{written}>)") == links(f'<a href="{written}">a</a>') == [leads]


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", "vbscript:x", "data:text/html,<b>",
     "&#106;avascript:x"],
)  # fmt: skip
def test_an_address_that_would_run_leads_nowhere(address: str) -> None:
    written = "".join(str(readme.render(text, HERE)) for text in (f"[a]({address})", f'<a href="{address}">a</a>'))
    assert not re.search(r'href="(?!#|/acme/api/)', written) and "src=" not in written


def test_pictures_come_from_the_repository_and_from_nowhere_else() -> None:
    near = readme.render("![A <b>](../logo.png) <img src=/i.gif width=20 height=9% onload=x()>", HERE)
    assert 'src="/acme/api/raw?ref=main&amp;path=logo.png&amp;picture=1" alt="A &lt;b&gt;"' in near
    assert 'src="/acme/api/raw?ref=main&amp;path=i.gif&amp;picture=1" alt="" width="20"' in near
    far = readme.render(
        "![Chart](https://x.example/c.png) [![Build](//b.example/b.svg)](https://b.example) ![](x.svg)", HERE
    )
    assert "<img" not in far
    assert '<span class="of-picture">Build</span></a>' in far
    assert links("![Chart](https://x.example/c.png) ![V](v.svg)") == [
        "https://x.example/c.png", "/acme/api/files?ref=main&path=docs/v.svg",
    ]  # fmt: skip


def test_headings_follow_those_of_the_page_without_a_gap_and_are_linked_to() -> None:
    html = readme.render("# One\n\n### One\n\n# Two `x` & *y*\n\n###### Deep", HERE)
    assert re.findall(r'<(h\d) id="([^"]+)">', html) == [
        ("h3", "readme-one"), ("h4", "readme-one-1"), ("h3", "readme-two-x--y"), ("h4", "readme-deep"),
    ]  # fmt: skip
    assert 'href="#readme-one-1" aria-label="Link to “One”"' in html


def test_python_is_coloured_and_other_code_is_plain() -> None:
    html = readme.render('```python\nx = "</pre><script>"\n```\n\n```sh\nls <a>\n```', HERE)
    assert '<span class="py-s">' in html and "&lt;script&gt;" in html
    assert '<pre tabindex="0"><code>ls &lt;a&gt;</code></pre>' in html


def test_tables_tasks_and_alignment_need_no_style() -> None:
    html = readme.render("|a|b|\n|:-:|--:|\n|1|2|\n\n- [x] done\n- [ ] to do\n\n<p align=right>x</p>", HERE)
    assert 'class="of-center">1' in html and 'class="of-right">2' in html and '<p class="of-right">' in html
    assert "☑ done" in html and "☐ to do" in html and "style" not in html


def test_what_others_wrote_runs_nowhere() -> None:
    for text in (
        README.decode(),
        NASTY,
        f"# {NASTY}",
        f"[{NASTY}](a)",
        f"![{NASTY}](a.png)",
        f"`{NASTY}`",
        "<svg/onload=x>",
    ):
        html = readme.render(text, Place("/acme/api", "main"))
        assert_harmless(html)
        assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", html) and "<script" not in html


@pytest.mark.parametrize(
    "text",
    ["[" * 5_000, "![" * 3_000, "<div>" * 5_000, ">" * 50_000, "- " * 20_000, "*a_ " * 4_000, "# a\n" * 2_000,
     "<details><summary>" * 2_000, "<h1>" * 2_000, "<b><a href=x>" * 1_000, "<https:" * 5_000,
     "|a" * 200 + "\n" + "|-" * 200 + "\n" + "|b\n" * 200, "[a]: x\n" * 2_000 + "[a]" * 2_000],
)  # fmt: skip
def test_a_hostile_text_is_shown_harmless_and_nested_no_deeper_than_the_bound(text: str) -> None:
    html = readme.render(text, HERE)
    assert_harmless(html)
    depth = deepest = 0
    for end in re.findall(r"<(/?)(?!br|hr|img|path|rect|circle)[a-z]", html):
        depth += -1 if end else 1
        deepest = max(deepest, depth)
    assert deepest <= 2 * readme.DEEPEST


PIECES = (
    "<a href=", '"', "'", ">", "</a>", "<img src=", "](", "![", "[", ")", "`", "\n", "\n\n", "# ", "|", "|-|", "<b ",
    "javascript:", "//x", "\\", "&#x6a;", "<!--", "-->", "<svg>", "<math>", "<table>", "<td>", "</p>", "<h1 id=a>",
    "]]>", "<style>", "<textarea>", "- [ ] ", "\0", "\xe9", "a",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@settings(deadline=None, max_examples=100)
def test_whatever_is_written_comes_out_harmless(text: str) -> None:
    assert_harmless(readme.render(text, HERE))


def entry(name: str, kind: str = "file") -> TreeEntry:
    return TreeEntry(name, name, kind, "0" * 40, 1)  # type: ignore[arg-type]


def test_markdown_is_preferred_and_links_are_not_followed() -> None:
    listed = [entry("README"), entry("Readme.md"), entry("readme.txt"), entry("README.markdown", "link")]
    assert readme.find(listed) == listed[1]
    assert readme.find([entry("readme.md", "folder"), entry("README.rst")]) == entry("README.rst")
    assert readme.find([entry("a.md")]) is None


def test_what_is_no_markdown_is_shown_as_it_is_or_said_not_to_be() -> None:
    assert readme.shown("docs/README.rst", b"Title\n=====\n<b>", "/a/b", "main").text == "Title\n=====\n<b>"
    assert readme.shown("README.md", b"a\0b", "/a/b", "main").why_not == "It is no text."
    assert readme.shown("README.md", b"\xef\xbb\xbf \n", "/a/b", "main").why_not == "It is empty."


def test_a_readme_is_read_again_only_when_it_or_its_place_is_another() -> None:
    read: list[str] = []
    kept = readme.Readmes()
    for content, ref in (("a", "main"), ("a", "main"), ("a", "next"), ("b", "main")):
        kept.of("README.md", content, "/acme/api", ref, lambda: read.append("x") or b"# Hi")  # type: ignore[func-returns-value]
    assert len(read) == 3
