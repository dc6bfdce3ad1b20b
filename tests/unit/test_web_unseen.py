"""Pages say where a text has characters that are not seen, and forms send them back as they were."""

import unicodedata
from types import SimpleNamespace

import pytest

from stepwell_web import unseen
from stepwell_web.templating import Templates


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deploy \u202egnp.exe", "deploy [U+202E]gnp.exe"),
        ("a\u2066b\u2069", "a[U+2066]b[U+2069]"),
        ("ma\u200bin ma\u200din ma\u00adin", "ma[U+200B]in ma[U+200D]in ma[U+00AD]in"),
        ("\ufeffmain\u3164", "[U+FEFF]main[U+3164]"),
        ("\u200d", "[U+200D]"),
        ("\x9b1m", "[U+009B]1m"),
        ("tag\U000e0041", "tag[U+E0041]"),
        ("Größe – 5 °C …", "Größe – 5 °C …"),
        ("\U0001f469\u200d\U0001f4bb ships", "\U0001f469\u200d\U0001f4bb ships"),  # one picture of two
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
    ],
)
def test_unseen_characters_are_told_by_their_numbers(text: str, told: str) -> None:
    assert unseen.shown(text) == told
    assert unseen.page(f"<p>{text}</p>") == f"<p>{told}</p>"


def test_no_character_of_format_is_forgotten() -> None:
    """Controls of ASCII are, in pages: they neither reorder nor join anything there."""
    formats = {chr(n) for n in range(0x80, 0x110000) if unicodedata.category(chr(n)) in ("Cf", "Cc", "Zl", "Zp")}
    drawn = {one for one in formats if unicodedata.name(one, "").startswith(("ARABIC ", "SYRIAC ", "KAITHI ", "EGYPT"))}
    assert len(formats) > 150 and "\u202e" in formats
    for char in formats - drawn | {"\u061c"}:
        assert unseen.page(f"<p>a{char}b</p>") == f"<p>a[U+{ord(char):04X}]b</p>", hex(ord(char))


def test_what_a_form_sends_is_what_was_meant() -> None:
    form = (
        '<form id="decide-\u202e"><input type="hidden" name="key" value="\u202eok"><option>a\u200bb</option>'
        '<option selected value="c\u200bd">c\u200bd</option><textarea>\u202ex</textarea><b title="\u202e">y</b>'
    )
    assert unseen.page(form) == (
        '<form id="decide-&#8238;"><input type="hidden" name="key" value="&#8238;ok">'
        '<option value="a&#8203;b">a[U+200B]b</option><option selected value="c&#8203;d">c[U+200B]d</option>'
        '<textarea>&#8238;x</textarea><b title="[U+202E]">y</b>'
    )


def test_what_an_approval_asks_for_is_shown_as_it_is_sent() -> None:
    page = "{% import '_parts.html' as parts with context %}{{ parts.fields(approval, 'decide') }}"
    templates, approval = Templates(), SimpleNamespace(key="ok#1", fields={"to": "\u202eeu", "size": ["s\u200b", "m"]})
    written = templates._env.from_string(page).render(approval=approval, tried=None)
    html = unseen.page(written)
    assert 'value="[U+202E]eu"' in html and '<option value="s&#8203;">s[U+200B]</option>' in html


def test_prose_may_say_where_words_break_but_not_reorder_them() -> None:
    assert unseen.page(unseen.kept("<p>Donau\u00addampf\u202e</p>")) == "<p>Donau&#173;dampf[U+202E]</p>"


def test_every_template_goes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = Templates()
    monkeypatch.setattr(templates._env, "get_template", lambda name: templates._env.from_string("{{ name }}"))
    assert templates.render("any.html", {"name": "ma\u202ein"}) == "ma[U+202E]in"
