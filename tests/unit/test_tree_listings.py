"""Tree objects read by what is other in them: the same as if they were read whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell_runners import tree_listings
from stepwell_runners.tree_listings import Listing, changes, listing

ID = 20
Entry = tuple[bytes, bytes, bytes]

modes = st.sampled_from([b"100644", b"100755", b"40000"])
names = st.sampled_from([b"a", b"b", b"ab", b"a b", b"7 a", b"100644 a", b"\xff", *(b"file%d" % n for n in range(20))])
ids = st.sampled_from([bytes(ID), b"\xff" * ID, b"100644 a\x00100644 b\x00zz", b"a\0" * 10, b"40000 a\0" + bytes(12)])
entries = st.lists(st.tuples(modes, names, ids), max_size=30)
unique = st.lists(st.tuples(modes, names, ids), min_size=1, max_size=30, unique_by=lambda entry: entry[1])


def packed(*entries: Entry) -> bytes:
    return b"".join(mode + b" " + name + b"\0" + id_ for mode, name, id_ in entries)


def read(raw: bytes) -> Listing:
    found = listing(raw, ID)
    assert found is not None
    return found


def differing(one: Listing, two: Listing) -> dict[bytes, tuple[bytes, bytes]]:
    return {name: entry for name, entry in one.names.items() if two.names.get(name) != entry}


def same(raw: bytes, old: Listing) -> None:
    """Whether what has become of `old` is what a look at all of it says."""
    found = changes(old, raw)
    tree_listings._kept.clear()  # or it would be compared with itself
    whole = listing(raw, ID)
    if found is None:
        assert whole is None
        return
    new, before, after = found
    assert whole is not None and (new.raw, new.starts, dict(new.names)) == (raw, whole.starts, dict(whole.names))
    assert {name: entry for name, entry in before.items() if after.get(name) != entry} == differing(old, whole)
    assert {name: entry for name, entry in after.items() if before.get(name) != entry} == differing(whole, old)


@given(unique, st.data())
def test_a_directory_that_follows_another_is_read_as_if_it_stood_alone(old: list[Entry], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(old)))
    end = data.draw(st.integers(start, len(old)))
    new = [*old[:start], *data.draw(entries), *old[end:]]
    same(packed(*new), read(packed(*old)))


@given(unique, st.data())
def test_bytes_that_are_no_entries_are_found_wherever_they_stand(old: list[Entry], data: st.DataObject) -> None:
    raw = packed(*old)
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    same(raw[:start] + data.draw(st.binary(max_size=40)) + raw[end:], read(raw))


def test_a_name_that_is_there_already_is_not_sound() -> None:
    one, two = (b"100644", b"a", bytes(ID)), (b"100644", b"b", bytes(ID))
    assert changes(read(packed(one, two)), packed(one, (b"100644", b"a", b"\1" * ID))) is None


@pytest.mark.parametrize(
    "raw", [b"", b"100644 a\0", b"100644 a\0" + bytes(ID - 1), b"x" + packed((b"1", b"a", bytes(ID)))]
)
def test_what_is_no_tree_object_is_not_sound(raw: bytes) -> None:
    assert listing(raw, ID) is None
