"""Indexes as git reads them, without git."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell_runners.git_index import Entry, changed, count_of

SECONDS = 1_700_000_000


def index_of(paths: dict[bytes, Entry], extension: bytes = b"") -> bytes:
    """Write an index the slow way."""
    content = struct.pack(">4sLL", b"DIRC", 2, len(paths))
    for path in sorted(paths):
        entry = paths[path]
        one = struct.pack(">LLLLLLLLLL", SECONDS, 0, SECONDS, 0, 0, 0, entry.mode, 0, 0, entry.size)
        one += bytes.fromhex(entry.id) + struct.pack(">H", min(len(path), 0xFFF)) + path + b"\0"
        content += one + bytes(-len(one) % 8)
    content += extension
    return content + hashlib.sha1(content).digest()


names = st.lists(st.sampled_from([b"a", b"a-", b"a.b", b"a0", b"b", b"long" * 9]), min_size=1, max_size=3).map(
    b"/".join
)
entries = st.builds(
    Entry, st.sampled_from([0o100644, 0o100755, 0o120000]), st.sampled_from(["00" * 20, "ff" * 20]), st.integers(0, 9)
)


@given(
    st.dictionaries(names, entries, max_size=8),
    st.lists(names, max_size=3),
    st.dictionaries(names, entries, max_size=4),
)
def test_a_changed_index_is_that_of_the_changed_tree(
    before: dict[bytes, Entry], gone: list[bytes], written: dict[bytes, Entry]
) -> None:
    after = {path: entry for path, entry in before.items() if not any((path + b"/").startswith(g + b"/") for g in gone)}
    after |= written
    made = changed(index_of(before, b"TREE\0\0\0\4last"), gone, written, SECONDS)
    assert made == index_of(after) and count_of(made) == len(after)


def test_an_index_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="another form"):
        changed(b"DIRC\0\0\0\3\0\0\0\0" + bytes(20), (), {}, SECONDS)
