"""Packed refs that are changed in a few places are what a dictionary would have become."""

from hypothesis import given
from hypothesis import strategies as st

from stepwell.repos.refs import PackedRefs

NAMES = st.sampled_from([
    b"refs/heads/a", b"refs/heads/a-b", b"refs/heads/a/b", b"refs/heads/a0", b"refs/heads/main", b"refs/runs/1",
    b"refs/runs/2", b"refs/runs0", b"refs/tags/v1", b"refs/tags/v2", b"refs/heads/\xc3\xa4",
])  # fmt: skip
IDS = st.integers(0, 9).map(lambda digit: b"%d" % digit * 40)
VALUES = st.tuples(IDS, st.none() | IDS)
HEADERS = st.sampled_from([b"# pack-refs with: peeled fully-peeled sorted \n", b"# pack-refs with: sorted\n"])


def text(refs: dict[bytes, tuple[bytes, bytes | None]]) -> bytes:
    lines = (b"%s %s\n" % (id_, ref) + (b"^%s\n" % peeled if peeled else b"") for ref, (id_, peeled) in refs.items())
    return b"".join(lines)


@given(st.dictionaries(NAMES, VALUES), HEADERS, st.lists(st.tuples(NAMES, st.none() | IDS), max_size=8))
def test_refs_are_put_and_cut_in_their_place(
    refs: dict[bytes, tuple[bytes, bytes | None]], header: bytes, changes: list[tuple[bytes, bytes | None]]
) -> None:
    refs = dict(sorted(refs.items()))
    packed = PackedRefs(header + text(refs))
    for ref, id_ in changes:
        if id_ is None:
            packed.cut(ref + b"/", ref + b"0")
            refs = {name: value for name, value in refs.items() if not name.startswith(ref + b"/")}
        else:
            packed.put({ref: id_})
            refs[ref] = id_, None
    assert bytes(packed) == header + text(dict(sorted(refs.items())))


@given(st.dictionaries(NAMES, VALUES), st.sampled_from([b"", b"# pack-refs with: peeled \n"]), NAMES, IDS)
def test_refs_that_are_not_sorted_are_sorted_first(
    refs: dict[bytes, tuple[bytes, bytes | None]], header: bytes, ref: bytes, id_: bytes
) -> None:
    packed = PackedRefs((header + text(refs)).removesuffix(b"\n"))
    packed.put({ref: id_})
    first, _, rest = bytes(packed).partition(b"\n")
    assert b" sorted" in first and rest == text(dict(sorted({**refs, ref: (id_, None)}.items())))


@given(st.dictionaries(NAMES, VALUES), HEADERS, st.dictionaries(NAMES, IDS))
def test_many_refs_are_put_at_once_and_read_below_a_folder(
    refs: dict[bytes, tuple[bytes, bytes | None]], header: bytes, more: dict[bytes, bytes]
) -> None:
    packed = PackedRefs(header + text(dict(sorted(refs.items()))))
    packed.put(more)
    refs |= {ref: (id_, None) for ref, id_ in more.items()}
    assert bytes(packed) == header + text(dict(sorted(refs.items())))
    wanted = [(ref, id_) for ref, (id_, _) in sorted(refs.items()) if ref.startswith(b"refs/heads/a/")]
    assert list(packed.below(b"refs/heads/a")) == wanted
