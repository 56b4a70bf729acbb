"""Mappings of runs in little memory: runs of one trainer have settings and metrics of the same names.

A list of 100,000 runs holds all of them at once. As dicts, their settings, metrics and intervals take 12 kB a run.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST_LAYOUTS = 1000  # of runs of one folder there are a few
_layouts: dict[tuple[str, ...], Mapping[str, int]] = {}


def packed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same names and values, in their order, read-only.

    Lists of two floats, as intervals are, are new ones at each access.
    """
    cells = list(values.values())
    kinds = set(map(type, cells))
    content: Sequence[Any] = array("d", cells) if kinds == {float} else tuple(map(_shared, cells))
    if kinds == {list} and all(list(map(type, cell)) == [float, float] for cell in cells):
        return _Pairs(_layout(values), array("d", [end for cell in cells for end in cell]))
    return _Packed(_layout(values), content)


def _shared(value: Any) -> Any:
    return sys.intern(value) if type(value) is str else value


def _layout(names: Mapping[str, Any]) -> Mapping[str, int]:
    """The place of each name; one object for all mappings of these names."""
    key = tuple(names)
    layout = _layouts.get(key)
    if layout is None:
        if len(_layouts) >= _MOST_LAYOUTS:
            _layouts.clear()
        key = tuple(map(sys.intern, key))
        layout = _layouts[key] = {name: place for place, name in enumerate(key)}
    return layout


class _Packed(Mapping[str, Any]):
    __slots__ = ("_cells", "_places")

    def __init__(self, places: Mapping[str, int], cells: Sequence[Any]) -> None:
        self._places, self._cells = places, cells

    def __getitem__(self, name: str) -> Any:
        return self._cells[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return packed, (dict(self),)


class _Pairs(_Packed):
    __slots__ = ()

    def __getitem__(self, name: str) -> list[float]:
        place = 2 * self._places[name]
        return [self._cells[place], self._cells[place + 1]]
