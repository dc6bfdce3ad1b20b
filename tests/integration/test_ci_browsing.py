"""Files, history and patches of real repositories."""

from collections.abc import Iterator

import pytest
from places import Clone, Place

from stepwell.ci.browsing import Browsing, File, Folder
from stepwell.errors import Invalid, NotFound
from stepwell.tenants import NOBODY


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("browsing")).start()
    yield place
    place.stop()


@pytest.fixture(scope="module")
def clone(place: Place) -> Clone:
    clone = place.repository("shop")
    clone.commit_files({"src/a.py": "one = 1\n", 'naïve "name".txt': "x\n"}, "One\n\nFirst of all.")
    clone.commit_files({"src/a.py": "one = 2\n", "logo.png": "\0png"}, "Two")
    clone.push()
    clone.git("tag", "-a", "v1", "-m", "First", "HEAD~1")
    clone.git("push", "-q", str(place.services.repositories.path(clone.id)), "v1", "HEAD:refs/heads/release/1")
    return clone


def browsing(clone: Clone) -> Browsing:
    return clone.place.services.browsing


def test_branches_and_tags_lead_to_commits(clone: Clone) -> None:
    actor, found = clone.place.admin(), browsing(clone)
    refs = found.refs(actor, "acme", "shop")
    assert set(refs.branches) == {"main", "release/1"} and refs.tags["v1"].subject == "One"
    assert found.tip(actor, "acme", "shop").sha == refs.branches["main"].sha
    history = found.history(actor, "acme", "shop", refs.branches["main"].sha, skip=0, limit=9)
    assert [one.subject for one in history] == ["Two", "One"]


def test_folders_and_files_are_seen_as_they_are_at_a_commit(clone: Clone) -> None:
    actor, found = clone.place.admin(), browsing(clone)
    first = found.tip(actor, "acme", "shop", "v1").sha
    root = found.at(actor, "acme", "shop", first)
    assert isinstance(root, Folder) and [one.name for one in root.entries] == ["src", 'naïve "name".txt']
    assert found.at(actor, "acme", "shop", first, "/src/a.py") == File("src/a.py", b"one = 1\n")
    for path in ("src/b.py", "../shop", "logo.png"):
        with pytest.raises(NotFound):
            found.at(actor, "acme", "shop", first, path)


def test_a_commit_comes_with_its_patch_the_first_one_too(clone: Clone) -> None:
    actor, found = clone.place.admin(), browsing(clone)
    second = found.patch(actor, "acme", "shop", found.tip(actor, "acme", "shop").sha)
    assert second.whole and "-one = 1\n+one = 2\n" in second.text
    assert "Binary files /dev/null and b/logo.png differ" in second.text
    first = found.patch(actor, "acme", "shop", second.commit.parents[0])
    assert first.text.count("new file mode") == 2


def test_a_patch_is_read_no_further_than_its_bound(clone: Clone) -> None:
    reader = clone.place.services.repositories.reader(clone.id)
    text, whole = reader.patch(None, clone.git("rev-parse", "HEAD"), limit=40)
    assert len(text) == 40 and not whole


@pytest.mark.parametrize("sha", ["main", "--output=/tmp/x", "7c1e9d4", "0" * 40])
def test_only_a_full_id_of_a_commit_reaches_git(clone: Clone, sha: str) -> None:
    with pytest.raises(NotFound):
        browsing(clone).patch(clone.place.admin(), "acme", "shop", sha)


def test_strangers_browse_nothing(clone: Clone) -> None:
    for look in (browsing(clone).refs, browsing(clone).tip, browsing(clone).names):
        with pytest.raises(NotFound):
            look(NOBODY, "acme", "shop")


def test_the_content_of_a_listed_file_is_read_up_to_a_bound(clone: Clone) -> None:
    actor, found = clone.place.admin(), browsing(clone)
    folder = found.at(actor, "acme", "shop", found.tip(actor, "acme", "shop").sha, "src")
    assert isinstance(folder, Folder)
    assert [one.size for one in folder.entries] == [None]
    assert [one.size for one in found.sized(actor, "acme", "shop", folder.entries)] == [8]
    assert found.content(actor, "acme", "shop", folder.entries[0], limit=8) == b"one = 2\n"
    with pytest.raises(Invalid):
        found.content(actor, "acme", "shop", folder.entries[0], limit=7)
    with pytest.raises(NotFound):
        found.content(NOBODY, "acme", "shop", folder.entries[0], limit=8)
