from links.store import Store


def test_link_is_found_under_its_number(store: Store) -> None:
    first, second = store.add("https://example.com/a"), store.add("https://example.com/b")
    assert store.get(first) == "https://example.com/a"
    assert store.get(second) == "https://example.com/b"


def test_number_without_link_is_none(store: Store) -> None:
    assert store.get(99) is None
