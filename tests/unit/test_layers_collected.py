"""Which files `junit=` and `artifacts=` name, and what of a layer is left without them."""

from pathlib import Path
from typing import cast

import pytest

from stepwell_runners.collected import Bound, Found, TooMuchCollected, View, _matches, _notes, check, find, without
from stepwell_runners.layers import File, Folder, Layer, Node, Plain
from stepwell_runners.reduce import OnDisk, Stack


@pytest.mark.parametrize(
    ("pattern", "path", "hit"),
    [
        ("junit.xml", "junit.xml", True),
        ("./junit.xml", "junit.xml", True),
        ("junit.xml", "sub/junit.xml", False),
        ("*.xml", "a.xml", True),
        ("*.xml", "sub/a.xml", False),
        ("**/*.xml", "a.xml", True),
        ("**/*.xml", "x/y/a.xml", True),
        ("dist/**", "dist/a/b", True),
        ("dist/**", "distant/a", False),
        ("dist/*/a?.[ch]", "dist/x/ab.c", True),
        ("dist/*/a?.[!ch]", "dist/x/ab.c", False),
        ("a.b", "axb", False),
    ],
)
def test_globs_match_as_in_a_shell(pattern: str, path: str, hit: bool) -> None:
    assert _matches(path, [pattern]) is hit


def test_collected_files_and_their_own_directories_leave_the_layer() -> None:
    def file(name: str) -> File:
        return File(0o644, OnDisk(name, 1))

    base = cast(Stack, Plain({"src": Folder(0o755), "src/old": file("old"), "src/gone": file("gone")}))
    written: dict[str, Node] = {
        "out": Folder(0o755),
        "out/r": Folder(0o755),
        "out/r/a.xml": file("a"),
        "src/b.xml": file("b"),
        "keep": file("k"),
    }
    layer = Layer(written, frozenset({"src/gone"}), {"src": Folder(0o755)})
    view = View(layer, Path("upper"), base)
    assert find(["**/*.xml", "src/*"], view, own=True).files == ("out/r/a.xml", "src/b.xml")
    assert find(["out/**", "**/*.xml", "src/*"], view).files == ("out/r/a.xml", "src/b.xml", "src/old")
    rest = without(layer, ["out/r/a.xml", "src/b.xml"], base)
    assert set(rest.written) == {"keep"} and rest.deleted == {"src/gone"} and not rest.passed


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Found(("a", "b", "c")), "artifacts= names 3 files; at most 2 are kept of a step"),
        (Found(("a",), (), 3 << 20), "at most 2,097,152 (2 MiB) are kept of a step.*STEPWELL_ARTIFACTS_MB"),
    ],
)
def test_what_is_too_much_is_refused_as_a_whole_and_names_the_limit(found: Found, message: str) -> None:
    with pytest.raises(TooMuchCollected, match=message.replace("(", "\\(").replace(")", "\\)")):
        check("artifacts=", found, Bound(2, 2 << 20, "STEPWELL_ARTIFACTS_MB"))


def test_a_pattern_below_the_commands_own_folder_is_explained() -> None:
    [said] = _notes(["x/y"], Found(), "./src")
    assert said == (
        "No file matches x/y. Patterns begin at the top of the workspace, not in cwd='./src': write \"src/…\"."
    )
    assert _notes(["x/y"], Found(), "")[0].endswith('write "folder/**".')
