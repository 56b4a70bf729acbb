"""Which of many values occur more than once, without a table of all of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def positions_of_repeated(values: Sequence[Hashable]) -> list[int]:
    """The positions of values that occur more than once, ascending; by chance also of a few others.

    Their hashes are sorted: of a million different values a table takes ten times as long, for it is filled and
    read all over the memory.

    >>> positions_of_repeated(["a", "b", "a"])
    [0, 2]
    """
    hashes = np.fromiter(map(hash, values), np.int64, len(values))
    ordered = np.sort(hashes)
    several = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(hashes, several)).tolist() if len(several) else []
