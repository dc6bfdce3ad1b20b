"""Python looks for garbage again once the pause is over, and only if it did before."""

import gc

import pytest

from stepwell.engine.garbage import collection_paused


def test_a_pause_ends_with_what_needed_it_even_when_that_fails() -> None:
    with pytest.raises(ValueError, match="wrong"), collection_paused():
        assert not gc.isenabled()
        raise ValueError("wrong")
    assert gc.isenabled()


def test_a_pause_within_a_pause_does_not_end_it() -> None:
    with collection_paused():
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
