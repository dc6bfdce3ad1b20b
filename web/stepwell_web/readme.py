"""A README as a part of a page: Markdown that strangers wrote, made into HTML that can do nothing.

Three walls, each enough by itself: nh3 keeps only the elements and attributes named here and closes what was left
open; what it returns is written anew below, attribute by attribute; and the pages' policy runs no script but ours.
Relative addresses lead into the repository at the ref that is shown. Pictures come from there, too: one from elsewhere
would tell its host who reads, so its words stand in its place, with a link. Ids have a prefix, or they could hide those
of the page.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode, urlsplit

from markupsafe import Markup

from stepwell.ci.remembered import Remembered
from stepwell.repos.objects import TreeEntry
from stepwell_web import sourceview, unseen
from stepwell_web.icons import icon

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

LARGEST = 128_000
"""Bytes of a README that is shown: a hostile one of that size takes two seconds, an honest one a tenth."""
KEPT, ROOM = 32, 8 * 1024 * 1024
"""READMEs that are kept, mostly of 20 kB, and the characters of all: a hostile one becomes 50 times as long."""
DEEPEST = 40
"""Elements inside each other; deeper ones lose their tags, not their words."""
_NAMES = ("readme.md", "readme.markdown", "readme", "readme.txt", "readme.rst")
_MARKDOWN = (".md", ".markdown")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
_PYTHON = ("python", "py", "python3")
_VOID = ("br", "hr", "img")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_TAGS = {
    "a", "b", "blockquote", "br", "center", "code", "dd", "del", "details", "div", "dl", "dt", "em", "hr", "i", "img",
    "ins", "kbd", "li", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "table",
    "tbody", "td", "th", "thead", "tr", "u", "ul", "var", *_HEADINGS,
}  # fmt: skip
_ATTRIBUTES = {
    "*": {"align", "id"}, "a": {"href"}, "img": {"alt", "height", "src", "width"}, "ol": {"start"},
    "details": {"open"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"},
}  # fmt: skip
_COLOURS = {"span": {f"py-{name}" for name in "csnkf"}}
_NUMBERS = ("start", "colspan", "rowspan")
_TASKS = {"[ ] ": "☐ ", "[x] ": "☑ ", "[X] ": "☑ "}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
PREFIX = "readme-"


@dataclass(frozen=True)
class Place:
    """Where a file stands: its repository's address, the ref that is shown, and its folder."""

    url: str
    ref: str
    folder: str = ""


@dataclass(frozen=True)
class Readme:
    """What is shown of it: HTML, plain text, or a word why neither."""

    name: str
    path: str
    html: Markup | None = None
    text: str = ""
    why_not: str = ""


def find(entries: Sequence[TreeEntry]) -> TreeEntry | None:
    """Choose the README of a folder."""
    named = {entry.name.lower(): entry for entry in reversed(entries) if entry.kind in ("file", "executable")}
    return next((named[name] for name in _NAMES if name in named), None)


def is_markdown(path: str) -> bool:
    """Say by its name whether a file is Markdown."""
    return path.lower().endswith(_MARKDOWN)


class Readmes:
    """Shows them; those shown last are kept by their content. Who may see one has been asked before."""

    def __init__(self) -> None:
        self._kept: Remembered[Readme] = Remembered(KEPT, weigh=lambda one: len(one.html or one.text), room=ROOM)

    def of(self, path: str, content: str, url: str, ref: str, read: Callable[[], bytes]) -> Readme:
        """Show the file at a path; `content` is the id of what `read` gives: at most LARGEST bytes."""
        return self._kept.of("\n".join((content, url, ref, path)), lambda: shown(path, read(), url, ref))


def shown(path: str, data: bytes, url: str, ref: str) -> Readme:
    """Show a file of at most LARGEST bytes."""
    folder, _, name = path.rpartition("/")
    if b"\0" in data:
        return Readme(name, path, why_not="It is no text.")
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    if not text.strip():
        return Readme(name, path, why_not="It is empty.")
    if not is_markdown(path):
        return Readme(name, path, text=text)
    return Readme(name, path, render(text, Place(url, ref, folder)))


def render(text: str, place: Place) -> Markup:
    """Make HTML from Markdown."""
    import nh3  # with the first README, as the parser is: a server's start need not wait for them

    writer = _Writer(place)
    writer.feed(nh3.clean(_html(text), tags=_TAGS, attributes=_ATTRIBUTES, allowed_classes=_COLOURS, link_rel=None,
                          url_schemes={"http", "https", "mailto"}))  # fmt: skip
    writer.close()
    return Markup(unseen.kept("".join(writer.out)))  # noqa: S704


def _html(text: str) -> str:
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if "style" in token.attrs:  # how a table's columns are aligned: no page of ours may carry styles
            token.attrs["align"] = str(token.attrs.pop("style")).removeprefix("text-align:")
    return str(parser.renderer.render(tokens, parser.options, {}))


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True, "highlight": _coloured}).enable(["table", "strikethrough"])


def _coloured(code: str, language: str, _: str) -> str:
    name = "code.py" if language.lower() in _PYTHON else "code"
    return "\n".join(sourceview.coloured(name, code))


class _Writer(HTMLParser):
    """Writes what nh3 has left, with addresses that lead somewhere, headings in their order, and ids of our own."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.out: list[str] = []
        self._place = place
        self._open: list[str] = []  # what closes each open element; "" for one that is left out
        self._level = 2  # of the last heading: the page's own stand above
        self._heading = -1  # where in `out` the open heading begins
        self._words: list[str] = []  # of that heading
        self._ids: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "img":
            self.out.append(self._picture(given))
        elif tag in _VOID:
            self.out.append(f"<{tag}>")
        elif len(self._open) >= DEEPEST or (tag == "a" and "</a>" in self._open):
            self._open.append("")
        elif tag in _HEADINGS:
            self._level = min(int(tag[1]) + 2, self._level + 1, 6)
            self._heading, self._words = len(self.out), []
            self._begin(f"h{self._level}", _dressed(given))
        elif tag == "table":
            self._begin(
                tag, _dressed(given), '<div class="of-table" role="group" aria-label="Table" tabindex="0">', "</div>"
            )
        else:
            self._begin("div" if tag == "center" else tag, self._attributes(tag, given))

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID or not self._open:
            return
        closing = self._open.pop()
        if self._heading >= 0 and closing.startswith("</h"):
            self._finish_heading()
        self.out.append(closing)

    def handle_data(self, data: str) -> None:
        if self._heading >= 0:
            self._words.append(data)
        mark = _TASKS.get(data[:4])
        if mark and (self._open[-1:] == ["</li>"] or self._open[-2:] == ["</li>", "</p>"]):
            data = mark + data[4:]
        self.out.append(escape(data, quote=False))

    def _begin(self, name: str, attributes: Mapping[str, str], before: str = "", after: str = "") -> None:
        written = "".join(f' {one}="{escape(value)}"' for one, value in attributes.items())
        self.out.append(f"{before}<{name}{written}>")
        self._open.append(f"</{name}>{after}")

    def _attributes(self, tag: str, given: Mapping[str, str]) -> dict[str, str]:
        kept = _dressed(given)
        if tag == "center":
            kept["class"] = "of-center"
        elif tag == "span" and given.get("class"):
            kept["class"] = given["class"]
        elif tag == "details" and "open" in given:
            kept["open"] = ""
        elif tag == "pre":
            kept["tabindex"] = "0"
        elif tag == "a" and given.get("href"):
            kept |= self._link(given["href"])
        if given.get("id"):
            kept["id"] = self._id(given["id"])
        return kept

    def _link(self, href: str) -> dict[str, str]:
        if href.startswith("#"):
            return {"href": f"#{PREFIX}{_slug(unquote(href[1:]))}"}
        if _is_far(href):
            return {"href": href, "rel": "nofollow noopener noreferrer"}
        path, fragment = self._path(href)
        if fragment and is_markdown(path):
            fragment = PREFIX + _slug(unquote(fragment))
        asked = {"ref": self._place.ref, "path": path} if path else {"ref": self._place.ref}
        return {"href": f"{self._place.url}/files?{urlencode(asked, safe='/')}{'#' if fragment else ''}{fragment}"}

    def _path(self, address: str) -> tuple[str, str]:
        """Find the path in the repository that an address means, and its fragment."""
        parts = urlsplit(address)
        given = unquote(parts.path)
        folder = "" if given.startswith("/") else self._place.folder
        return posixpath.normpath(posixpath.join("/", folder, given.lstrip("/"))).strip("/"), parts.fragment

    def _picture(self, given: Mapping[str, str]) -> str:
        words, source = given.get("alt", "").strip(), given.get("src", "").strip()
        if self._heading >= 0:
            self._words.append(words)
        path = "" if not source or _is_far(source) else self._path(source)[0]
        if path.lower().endswith(_PICTURES):
            asked = urlencode({"ref": self._place.ref, "path": path, "picture": "1"}, safe="/")
            size = "".join(f' {one}="{given[one]}"' for one in ("width", "height") if _is_number(given.get(one, "")))
            return f'<img src="{escape(f"{self._place.url}/raw?{asked}")}" alt="{escape(words)}"{size} loading="lazy">'
        name = escape(words or source.rpartition("/")[2] or "a picture", quote=False)
        link = self._link(source) if source and "</a>" not in self._open else {}
        if not link:
            return f'<span class="of-picture">{name}</span>'
        written = "".join(f' {one}="{escape(value)}"' for one, value in link.items())
        return f'<a class="of-picture"{written} title="A picture that is not shown here">{icon("image")}{name}</a>'

    def _finish_heading(self) -> None:
        words = " ".join("".join(self._words).split())
        name = self._id(words)
        opening = self.out[self._heading]
        self.out[self._heading] = f'{opening[:-1]} id="{escape(name)}">'
        if words and "</a>" not in self._open:
            label = escape(f"Link to “{words[:80]}”")
            self.out.append(f'<a class="of-anchor" href="#{escape(name)}" aria-label="{label}">{icon("link")}</a>')
        self._heading = -1

    def _id(self, words: str) -> str:
        slug = _slug(words)
        while True:
            n = self._ids[slug]
            self._ids[slug] += 1
            if n == 0 or f"{slug}-{n}" not in self._ids:
                return f"{PREFIX}{slug}-{n}" if n else f"{PREFIX}{slug}"


def _dressed(given: Mapping[str, str]) -> dict[str, str]:
    kept = {one: given[one] for one in _NUMBERS if _is_number(given.get(one, ""))}
    align = given.get("align", "").lower()
    return {**kept, "class": f"of-{align}"} if align in ("center", "right") else kept


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 4


def _is_far(address: str) -> bool:
    return address.startswith(("//", "\\")) or bool(_SCHEME.match(address))


def _slug(words: str) -> str:
    """Name a heading as other forges do: what links to it from elsewhere goes on to work."""
    return re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")[:100]
