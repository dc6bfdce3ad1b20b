"""The layer algebra against naive models: copy everything, apply in order."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell_runners.layers import (
    File,
    Folder,
    Layer,
    Link,
    Node,
    Plain,
    Upper,
    apply,
    conflicts,
    overlay,
    parent,
    parents,
    reduce,
    unpack,
)

Tree = dict[str, Node]
NAMES = ("a", "b", "c")
PATHS = [*NAMES, *(f"{x}/{y}" for x in NAMES for y in NAMES)]
PATHS += [f"{x}/{y}/{z}" for x in "ab" for y in "ab" for z in "ab"]
nodes: st.SearchStrategy[Node] = st.one_of(
    st.builds(File, st.sampled_from([0o644, 0o755]), st.sampled_from([b"1", b"2", b"3"])),
    st.builds(Link, st.sampled_from(["a", "../b"])),
    st.builds(Folder, st.sampled_from([0o755, 0o700])),
)


def clean(raw: Mapping[str, Node]) -> Tree:
    """Return `raw` with a directory above each path, as every real tree has it."""
    tree: Tree = {}
    for path in sorted(raw):
        for above in parents(path):
            if not isinstance(tree.get(above), Folder):
                tree[above] = Folder(0o755)
        tree[path] = raw[path]
    return {path: node for path, node in tree.items() if all(isinstance(tree[a], Folder) for a in parents(path))}


trees = st.dictionaries(st.sampled_from(PATHS), nodes, max_size=8).map(clean)


@st.composite
def uppers(draw: st.DrawFn, base: Tree) -> Upper:
    """An upper as a kernel could leave it: copied-up files, whiteouts, opaque directories."""
    raw = draw(st.dictionaries(st.sampled_from(PATHS), st.one_of(st.none(), nodes, st.just("copied up")), max_size=6))
    entries: dict[str, Node | None] = {}
    for path in sorted(raw):
        if any(not isinstance(entries.get(a, Folder(0)), Folder) for a in parents(path)):
            continue
        for above in parents(path):
            entries.setdefault(above, base.get(above) if isinstance(base.get(above), Folder) else Folder(0o755))
        value = raw[path]
        entries[path] = base.get(path) if isinstance(value, str) else value
    folders = sorted(path for path, entry in entries.items() if isinstance(entry, Folder))
    opaque = draw(st.sets(st.sampled_from(folders))) if folders else set()
    return Upper(entries, frozenset(opaque))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_reduced_upper_over_its_own_base_shows_what_the_step_saw(data: st.DataObject) -> None:
    base = data.draw(trees)
    upper = data.draw(uppers(base))
    assert apply(base, reduce(upper, Plain(base))) == overlay(base, upper)


@settings(max_examples=300, deadline=None)
@given(trees, trees)
def test_a_copied_workspace_reduces_to_the_difference(before: Tree, after: Tree) -> None:
    layer = reduce(Upper(after, frozenset({""})), Plain(before))
    assert apply(before, layer) == after
    assert reduce(Upper(before, frozenset({""})), Plain(before)).empty
    assert not (layer.deleted & {above for path in layer.written for above in parents(path)})


@settings(max_examples=300, deadline=None)
@given(trees, trees, trees)
def test_an_unpacked_layer_shows_the_same_on_any_stack(base: Tree, after: Tree, other: Tree) -> None:
    layer = reduce(Upper(after, frozenset({""})), Plain(base))
    unpacked = unpack(layer, Plain(other))
    assert not unpacked.opaque
    assert overlay(other, unpacked) == apply(other, layer)


@settings(max_examples=300, deadline=None)
@given(trees, trees, trees)
def test_a_parallel_layer_deletes_only_what_its_step_saw(base: Tree, mine: Tree, theirs: Tree) -> None:
    first = reduce(Upper(mine, frozenset({""})), Plain(base))
    second = reduce(Upper(theirs, frozenset({""})), Plain(base))
    both = apply(apply(base, first), second)
    replaced = {path for path, node in second.written.items() if not isinstance(node, Folder)}
    entered = {above for path in second.written for above in parents(path)}
    for path in first.written:
        lost = path not in both and path not in second.deleted and not replaced & {path, *parents(path)}
        blocked = any(above in entered | set(second.written) for above in (path, *parents(path)))
        assert not lost or blocked
    assert all(isinstance(both[parent(path)], Folder) for path in both if parent(path))


def test_a_directory_removed_and_made_again_keeps_what_a_parallel_step_put_there() -> None:
    """Data loss one: `rm -rf build; mkdir build` leaves an opaque directory, which would hide the other's build/a."""
    base: Tree = {"build": Folder(0o755), "build/old": File(0o644, b"old")}
    one = reduce(Upper({"build": Folder(0o755), "build/a": File(0o644, b"A")}), Plain(base))
    two = reduce(Upper({"build": Folder(0o755)}, frozenset({"build"})), Plain(base))
    assert two == Layer(deleted=frozenset({"build/old"}))
    assert apply(apply(base, one), two) == {"build": Folder(0o755), "build/a": File(0o644, b"A")}


def test_a_file_only_opened_for_writing_does_not_undo_a_parallel_change() -> None:
    """Data loss two: `r+` copies the unchanged file up, which would hide the other's new content."""
    base: Tree = {"src": Folder(0o755), "src/f": File(0o644, b"old")}
    one = reduce(Upper({"src": Folder(0o755), "src/f": File(0o644, b"new")}), Plain(base))
    two = reduce(Upper({"src": Folder(0o755), "src/f": File(0o644, b"old")}), Plain(base))
    assert two.empty
    assert apply(apply(base, one), two)["src/f"] == File(0o644, b"new")


def test_a_directory_removed_here_survives_with_what_a_parallel_step_added() -> None:
    base: Tree = {"build": Folder(0o755), "build/old": File(0o644, b"old")}
    one = reduce(Upper({"build": Folder(0o755), "build/a": File(0o644, b"A")}), Plain(base))
    two = reduce(Upper({"build": None}), Plain(base))
    after = apply(base, one)
    assert apply(base, two) == {}
    assert overlay(after, unpack(two, Plain(after))) == {"build": Folder(0o755), "build/a": File(0o644, b"A")}


def test_conflicts_name_tracked_paths_changed_differently() -> None:
    base: Tree = {"src": Folder(0o755), "src/f": File(0o644, b"old")}
    base |= {"docs": Folder(0o755), "docs/g": File(0o644, b"g")}
    one = Layer(written={"src/f": File(0o644, b"1"), "out.txt": File(0o644, b"1"), "docs/new": File(0o644, b"n")})
    two = Layer(
        written={"src/f": File(0o644, b"2"), "out.txt": File(0o644, b"2")}, deleted=frozenset({"docs", "docs/g"})
    )
    assert conflicts(one, two, Plain(base)) == ["docs", "src/f"]
    assert conflicts(one, one, Plain(base)) == []
