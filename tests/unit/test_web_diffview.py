from fixture_repositories import PATCH
from fixture_runs import NASTY

from stepwell_web import diffview


def test_a_patch_is_cut_into_files_and_numbered_lines() -> None:
    text, binary, renamed = diffview.files(PATCH)
    assert (text.path, text.added, text.removed, text.word) == ("src/ledger/rounding.py", 2, 1, "changed")
    assert [(line.kind, line.before, line.after) for line in text.lines] == [
        ("hunk", None, None), ("same", 8, 8), ("same", 9, 9), ("del", 10, None), ("add", None, 10), ("add", None, 11),
        ("same", 11, 12),
    ]  # fmt: skip
    assert text.lines[4].text == f"    # {NASTY}"
    assert (binary.path, binary.binary) == ("logo.png", True)
    assert (renamed.was, renamed.path, renamed.lines) == ("docs/old.md", "docs/new.md", [])


def test_lines_of_a_file_that_look_like_a_patch_stay_lines() -> None:
    head = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1,3 @@\n"
    patch = head + "-+++ b/evil\n+--- a/evil\n+@@ -9 +9 @@\n+diff --git a/y b/y\n"
    (only,) = diffview.files(patch)
    assert (only.path, only.added, only.removed) == ("x", 3, 1)


def test_a_file_without_content_has_its_name_from_the_first_line() -> None:
    (only,) = diffview.files("diff --git a/a b.txt b/a b.txt\nnew file mode 100644\nindex 000..e69\n")
    assert (only.path, only.word, only.lines) == ("a b.txt", "new", [])


def test_what_is_too_long_is_counted_and_not_shown() -> None:
    body = "".join(f"+{n}\n" for n in range(5000))
    (only,) = diffview.files(f"diff --git a/x b/x\n--- /dev/null\n+++ b/x\n@@ -0,0 +1,5000 @@\n{body}")
    assert (len(only.lines), only.left, only.added) == (diffview.FILE_LINES, 4001, 5000)


def test_no_patch_has_no_files() -> None:
    assert diffview.files("") == []
