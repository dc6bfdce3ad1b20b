"""Globs for branches, tags and paths: `*` and `?` stay inside one folder, `**` crosses folders, `[ab]` is a set.

Both sides are a stranger's: the pattern and the name. Translated into a regular expression, `*a*a*a*a*a*b` takes years
on a long name, and the interpreter does nothing else meanwhile. So all ways through the pattern are followed at once,
one bit of an integer for each place: the time is that of reading the name, whatever the pattern.
"""

import re
from functools import lru_cache

LONGEST = 1000  # characters
_SET = re.compile(r"\[[^\]].*?\]", re.DOTALL)
_BRACES = re.compile(r"\{[^{}]*,[^{}]*\}")
_TOKEN = re.compile(r"(?P<folders>(?:\*\*/)+)|(?P<all>\*\*)|(?P<star>\*)|\[(?P<set>[^\]].*?)\]|.", re.DOTALL)


class Glob:
    """A pattern made ready. Place i is before its i-th part; the last one is the end."""

    def __init__(self, glob: str) -> None:
        self._parts: list[re.Pattern[str] | str] = []  # what one character is matched with, "" for anything else
        self._star = self._all = self._folders = 0  # places that may be skipped or stayed at
        for token in _TOKEN.finditer(glob):
            here = 1 << len(self._parts)
            if token["folders"]:
                self._folders |= here  # at a folder's beginning; the place after it is inside its name
                self._parts += ["", ""]
            elif token["all"] or token["star"]:
                self._all |= here if token["all"] else 0
                self._star |= here
                self._parts.append("")
            else:
                self._parts.append(_set(token["set"]) if token["set"] else _ANY if token[0] == "?" else token[0])
        self._end = 1 << len(self._parts)
        self._masks: dict[str, int] = {}

    def fullmatch(self, text: str) -> bool:
        """Say whether the whole text matches."""
        places = self._skipped(1)
        for glyph in text:
            moved = (places & self._mask(glyph)) << 1
            if glyph == "/":
                moved |= places & self._all | (places >> 1) & self._folders
            else:
                moved |= places & (self._star | self._folders << 1) | (places & self._folders) << 1
            if not moved:
                return False
            places = self._skipped(moved)
        return bool(places & self._end)

    def _skipped(self, places: int) -> int:
        while True:
            more = places | (places & self._star) << 1 | (places & self._folders) << 2
            if more == places:
                return places
            places = more

    def _mask(self, glyph: str) -> int:
        """Return the places whose part is this character or takes it."""
        if glyph not in self._masks:
            takes = (part == glyph if isinstance(part, str) else part.match(glyph) for part in self._parts)
            self._masks[glyph] = sum(1 << place for place, taken in enumerate(takes) if taken)
        return self._masks[glyph]


_ANY = re.compile("[^/]")


def _set(inner: str) -> re.Pattern[str]:
    text = inner.replace("\\", "\\\\").replace("[", "\\[")
    return re.compile(f"(?!/)[^{text[1:]}]" if text[0] == "!" else f"(?!/)[{text}]", re.DOTALL)


@lru_cache(maxsize=1024)
def glob_pattern(glob: str) -> Glob:
    """Make a glob ready; ValueError for what is none."""
    if not isinstance(glob, str) or not glob or len(glob) > LONGEST:
        raise ValueError(f'glob has value {str(glob)[:80]!r}. Write something like "src/**".')
    try:
        return Glob(glob)
    except re.error as error:
        raise ValueError(f"glob has value {glob!r}, in which a set is wrong: {error}.") from error


def written_glob(glob: str) -> Glob:
    """Make a glob ready as an author writes it: what other tools read as alternatives or exceptions is refused, too."""
    made = glob_pattern(glob)
    if glob.startswith("!"):
        raise ValueError(
            f"glob has value {glob!r}. A glob leaves nothing out that others name: name only what is meant "
            f"({glob.replace('!', '?', 1)!r} is for a name that begins with an exclamation mark)."
        )
    if found := _BRACES.search(_SET.sub("", glob)):
        first = glob.replace(found[0], found[0][1:].partition(",")[0])
        raise ValueError(
            f"glob has value {glob!r}. Braces are no alternatives here: write one glob for each, {first!r} and so on "
            '("[{]" is for a name with a brace).'
        )
    return made
