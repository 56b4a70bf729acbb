"""Which values occur more than once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.data.repeated import positions_of_repeated


@given(st.lists(st.text(max_size=2)))
def test_the_positions_of_all_values_that_occur_more_than_once_are_found_in_order(values: list[str]) -> None:
    times = Counter(values)
    assert positions_of_repeated(values) == [place for place, value in enumerate(values) if times[value] > 1]


def test_different_values_of_one_hash_are_among_them() -> None:
    assert hash(-1) == hash(-2)
    assert positions_of_repeated([-1, 5, -2, 7]) == [0, 2]
