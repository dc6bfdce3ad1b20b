"""Pages of large folders."""

import pytest

from stepwell.repos.objects import TreeEntry
from stepwell_web.treeview import PAGE, listed

MANY = [TreeEntry(f"Name-{n}", f"Name-{n}", "file", "0" * 40) for n in range(2 * PAGE + 1)]


def test_a_small_folder_is_listed_whole() -> None:
    whole = listed(MANY[:PAGE])
    assert (len(whole.entries), whole.is_large, whole.before, whole.after) == (PAGE, False, None, None)
    assert listed([]).entries == []


@pytest.mark.parametrize(
    ("skip", "begin", "length", "before", "after"),
    [
        (0, 0, PAGE, None, PAGE), (PAGE, PAGE, PAGE, 0, 2 * PAGE), (2 * PAGE, 2 * PAGE, 1, PAGE, None),
        (10**9, 2 * PAGE, 1, PAGE, None),
    ],
)  # fmt: skip
def test_pages_follow_each_other_to_the_last(
    skip: int, begin: int, length: int, before: int | None, after: int | None
) -> None:
    page = listed(MANY, skip)
    assert (page.skip, len(page.entries), page.before, page.after) == (begin, length, before, after)
    assert page.entries[0] == MANY[begin] and page.is_large


def test_a_part_of_a_name_is_found_whatever_its_case() -> None:
    page = listed(MANY, 0, " name-100 ")
    assert [entry.name for entry in page.entries] == ["Name-100", "Name-1000"]
    assert (page.count, page.total, page.part) == (2, len(MANY), "name-100")
    assert listed(MANY, PAGE, "zebra").entries == []
