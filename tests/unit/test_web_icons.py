from stepwell_web.icons import STATES


def test_each_state_has_a_shape_of_its_own() -> None:
    assert len(set(STATES.values())) == len(STATES)
