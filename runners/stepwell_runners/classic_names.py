"""Names of images in a Dockerfile that the engine's classic builder is to build.

That builder takes the beginning of an id for a name: `FROM 0` finds what another tenant has set up, built or pulled
with its credentials. BuildKit does not. So here every name is looked at first. The engine's own parser is not repeated:
a line in which a name cannot be read for sure is refused.
"""

import re
from collections.abc import Iterator, Sequence

from stepwell.errors import Invalid

_MOST = 50
_ESCAPE = re.compile(r"\s*#\s*escape\s*=", re.IGNORECASE)
_NAME = r"[A-Za-z0-9][A-Za-z0-9._/:@-]*"
_IS_FROM = re.compile(r"(?:ONBUILD\s+)?F(?:R(?:O(?:M(?!\w))?)?)?(?:\s|\\|$)", re.IGNORECASE)  # or cut in two: FRO\
_FROM = re.compile(rf"FROM(?:\s+--platform=[\w./-]+)?\s+({_NAME})(?:\s+AS\s+([a-z][a-z0-9._-]*))?", re.IGNORECASE)
_IS_OTHER = re.compile(r"--from", re.IGNORECASE)
_OTHER = re.compile(rf"--from=({_NAME})(?!\S)", re.IGNORECASE)
_HIDDEN = re.compile(r"""(?<!\S)(?:--[^\s=]*["'\\]|-[^\s=]*\\)""")  # an option that reads otherwise once it is unquoted
_STAGE = re.compile(r"[0-9]{1,3}")  # by its number
_LIKE_AN_ID = re.compile(r"(?:sha256:)?[0-9a-f]*", re.IGNORECASE)


def images_of(file: str, text: str) -> Sequence[str]:
    """Return the images that a Dockerfile names, its own stages left out. Raises Invalid for a name in doubt."""
    if any(map(_ESCAPE.match, text.lstrip("\ufeff").split("\n"))):
        raise _doubt(file, "# escape=")
    stages, images = {"scratch"}, dict[str, None]()
    for line in _lines(text):
        if _IS_FROM.match(line):
            found = _FROM.fullmatch(line)
            if found is None:
                raise _doubt(file, line)
            if found[1].lower() not in stages:
                images[_checked(file, line, found[1])] = None
            stages.add(_checked(file, line, found[2] or "scratch").lower())  # the line may be a part of another one
        if _HIDDEN.search(line):
            raise _doubt(file, line)
        for start in _IS_OTHER.finditer(line):
            other = _OTHER.match(line, start.start())
            if other is None:
                raise _doubt(file, line)
            if other[1].lower() not in stages and not _STAGE.fullmatch(other[1]):
                images[_checked(file, line, other[1])] = None
    if len(images) > _MOST:
        raise Invalid(f"{file!r} names {len(images):,} images. At most {_MOST} can be named with the classic builder.")
    return list(images)


def _lines(text: str) -> Iterator[str]:
    """Give the lines as they are written, comments left out; each that goes on another's is one of its own."""
    lines = (line.strip() for line in text.lstrip("\ufeff").split("\n"))
    return (line for line in lines if line and not line.startswith("#"))


def _checked(file: str, line: str, name: str) -> str:
    if _LIKE_AN_ID.fullmatch(name):
        raise _doubt(file, line)
    return name


def _doubt(file: str, line: str) -> Invalid:
    return Invalid(
        f"{file!r} has the line {line[:80]!r}, which the engine's classic builder could take for the id of somebody "
        'else\'s image. Write the whole name and a tag, like "busybox:1.36", on one line without variables, quotes and '
        "escapes, or have the operator install the docker client's plugin buildx beside Stepwell."
    )
