"""Characters that are not seen, or that put others in another order, written as what they are: `[U+202E]`.

Names of branches and files, messages of commits, logs and what hostile code asks for may have them, so that a page
about one thing reads like one about another. Files, journal and raw logs keep them; pages of them say that they are
there. So do forms: what is sent back is what was meant, not what was shown.

All of a finished page is looked at, and not each value: what a template forgets would be what somebody uses.
"""

import re

_ALWAYS = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_JOINERS = "[\u200c\u200d]"  # between letters of Persian or parts of an emoji they are spelling, beside Latin a trick
_LATIN = "\x00-\u024f"
_UNSEEN = re.compile(f"[{_ALWAYS}]|(?<![^{_LATIN}]){_JOINERS}|{_JOINERS}(?![^{_LATIN}])")
_HARMLESS = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")  # in prose: where a word may be broken, and where not
_IN_PAGE = re.compile(
    rf"(?P<option><option(?![^>]*\svalue=)[^>]*)>(?P<words>[^<]*)|<(?:form|input|option|select|button)\b[^>]*>"
    rf"|<textarea\b[^>]*>[^<]*|{_UNSEEN.pattern}"
)
_LEADS = tuple(
    re.compile(one)
    for one in (
        rb"\xe2(?:\x80[\x8b-\x8f\xa8-\xae]|\x81[\xa0-\xaf])", rb"\xc2[\x80-\x9f\xad]", rb"\xcd\x8f", rb"\xd8\x9c",
        rb"\xe1(?:\x85[\x9f\xa0]|\x9e[\xb4\xb5]|\xa0[\x8b-\x8f])", rb"\xe3\x85\xa4",
        rb"\xef(?:\xbb\xbf|\xbe\xa0|\xbf[\xb9-\xbb])", rb"\xf0(?:\x9b\xb2|\x9d\x85)", rb"\xf3\xa0",
    )
)  # fmt: skip
"""How they begin as bytes: each is looked for ten times as fast as all as characters. Controls of ASCII do no harm."""


def shown(text: str) -> str:
    """Write a text with its unseen characters as their numbers."""
    return text if text.isascii() else _UNSEEN.sub(lambda found: _number(found[0]), text)


def kept(html: str) -> str:
    """Have `page` leave those alone that only say where prose may be broken."""
    return html if html.isascii() else _HARMLESS.sub(lambda found: f"&#{ord(found[0])};", html)


def page(html: str) -> str:
    """Write a page, or a part of one, likewise."""
    if html.isascii():
        return html
    data = html.encode()
    return _IN_PAGE.sub(_in_page, html) if any(lead.search(data) for lead in _LEADS) else html


def _in_page(found: re.Match[str]) -> str:
    if found["option"] is not None:  # its words are what it sends
        value = f' value="{_referred(found["words"])}"' if _UNSEEN.search(found["words"]) else ""
        return f"{_referred(found['option'])}{value}>{shown(found['words'])}"
    return _referred(found[0]) if found[0].startswith("<") else _number(found[0])


def _referred(part: str) -> str:
    """Write the attributes of a form's part, or what it begins with, so that they arrive as they were."""
    return _UNSEEN.sub(lambda found: f"&#{ord(found[0])};", part)


def _number(char: str) -> str:
    return f"[U+{ord(char):04X}]"
