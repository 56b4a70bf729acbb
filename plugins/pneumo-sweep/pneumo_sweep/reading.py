"""Reading ``--set`` and ``--search``, with the checks that a trainer's settings make.

A value is checked as ``pneumo run`` checks it: by resolving the settings with it, so the messages are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumo_cli.errors import UsageError, shown
from pneumo_cli.settings.field_types import FieldType, plain, split_list, to_text, type_of
from pneumo_cli.settings.parts import flag, flat_name
from pneumo_cli.settings.renamed import RENAMED
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import MachineSettings
from pneumo_sweep.space import MOST_TRIALS, Choices, Dimension, Range, Space

_RANGE = re.compile(r"(log:)?\s*(\S+?)\s*\.\.\s*(\S+)")
_OTHER_IMAGES = "then trials would be compared on different validation images"
_FIXED = {
    **dict.fromkeys(
        (
            "dataset",
            "split",
            "validation_fraction",
            "split_seed",
            "folds",
            "fold",
            "skip_unreadable",
            "images_of",
        ),
        _OTHER_IMAGES,
    ),
    "seed": "the best of several seeds is luck; --with-seeds N tells luck from a lead",
    "seeds": "a trial is one run; --with-seeds N repeats the best settings with further seeds",
    "evaluate_test": "settings are chosen on the validation images, and the test images are for the winner alone",
}
"""Settings that cannot be tried, and why."""


@dataclass(frozen=True)
class Reader:
    """Reads the dimensions of a sweep.

    Attributes:
        resolve: resolves the settings with further values by name. It raises UsageError.
        given: the settings that the request fixes.
    """

    resolve: Callable[[Mapping[str, Any]], Resolved]
    given: frozenset[str]

    def space(self, grid: Sequence[tuple[str, Any]], search: Sequence[tuple[str, Any]]) -> Space:
        """The space of a request.

        Args:
            grid, search: names and values: the text of a flag, or in Python also a list.

        Raises:
            UsageError: a setting is unknown, cannot be tried or occurs twice, or a value is refused.
        """
        taken: dict[str, str] = {name: flag(name) for name in self.given}
        points = tuple(self._choices("--set", name, raw, taken) for name, raw in grid)
        draws = tuple(self._dimension("--search", name, raw, taken) for name, raw in search)
        space = Space(points, draws)
        if space.points > MOST_TRIALS:
            raise UsageError(
                f"the grid has {space.points:,} points, and a sweep at most {MOST_TRIALS:,} trials: leave values "
                "out, or draw from them with --search and --trials"
            )
        for number in range(space.points):
            self._resolved(space.grid_settings(number), dict.fromkeys(taken, "--set"))
        return space

    def _dimension(self, option: str, name: str, raw: Any, taken: dict[str, str]) -> Dimension:
        match = _RANGE.fullmatch(raw.strip()) if isinstance(raw, str) else None
        if match is None:
            return self._choices(option, name, raw, taken)
        name, own = self._setting(option, name, taken)
        written = f"{option} {name}={raw}"
        if own.is_list or own.scalar not in (int, float):
            example = ",".join(list(own.choices)[:3]) or "A,B"
            raise UsageError(f"{written}: {name} is no number: list its values, {option} {name}={example}")
        log, *ends = match.groups()
        low, high = (self._value(option, name, own, end) for end in ends)
        if not low < high:
            raise UsageError(f"{written}: a range ascends, LOW..HIGH")
        if log and low <= 0:
            raise UsageError(f"{written}: a logarithmic range begins above 0")
        return Range(name, low, high, bool(log), own.scalar is int)

    def _choices(self, option: str, name: str, raw: Any, taken: dict[str, str]) -> Choices:
        name, own = self._setting(option, name, taken)
        if isinstance(raw, (str, int, float)):
            raw = split_list(str(raw))
        items = list(raw) if isinstance(raw, Iterable) else []
        if own.is_list and not all(isinstance(item, (list, tuple)) for item in items):
            raise UsageError(
                f"{option} {name}: {name} is a list: write the lists in JSON, {option} '{name}=[[1, 2], [3, 4]]'"
            )
        if not items or "" in items:
            raise UsageError(f"{option} {name} has {'an empty value' if items else 'no values'}: {name}=A,B")
        values = tuple(self._value(option, name, own, item) for item in items)
        twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
        if twice is not None:
            raise UsageError(f"{option} {name} has the value {twice} twice")
        return Choices(name, values)

    def _setting(self, option: str, name: str, taken: dict[str, str]) -> tuple[str, FieldType]:
        """The current name of a setting that may be tried, and its type.

        Args:
            taken: how other settings were given; this one is added.
        """
        name = name.strip().replace("-", "_")
        name = RENAMED.get(name, name)
        if name in taken:
            raise UsageError(
                f"{name} is given twice: by {taken[name]} and by {option}; leave one of them out"
            )
        taken[name] = option
        resolved = self.resolve({})
        options = type(resolved.options).model_fields
        if name in MachineSettings.model_fields:
            raise UsageError(
                f"{option} {name}: it is a setting of the machine and not of the recipe: {flag(name)}"
            )
        if name in _FIXED or name in options:
            raise UsageError(f"{option} {name}: {_FIXED.get(name, _OTHER_IMAGES)}")
        if name in type(resolved.trainer).model_fields:
            return name, _type(type(resolved.trainer), name)
        for part in resolved.parts:
            for field in type(part.settings).model_fields:
                if flat_name(part.name, field) == name:
                    return name, _type(type(part.settings), field)
        self._resolved(
            {name: "1"}, {name: option}
        )  # raises: it is unknown, or of an extension that is not asked for
        raise UsageError(f"{option} {name}: it cannot be tried")

    def _value(self, option: str, name: str, own: FieldType, raw: Any) -> Any:
        text = to_text(list(raw)) if isinstance(raw, (list, tuple)) else raw
        found = _values(self._resolved({name: text}, {name: option}))[name]
        return to_text(found) if own.is_list else found

    def _resolved(self, values: Mapping[str, Any], options: Mapping[str, str]) -> Resolved:
        try:
            return self.resolve(values)
        except UsageError as error:
            message = str(error)
            for name in values:
                message = message.replace(f"({flag(name)})", f"({options[name]})")
            if message.startswith("unknown setting"):
                message += f" ({next(iter(options.values()))})"
            raise UsageError(message) from None


def _type(cls: Any, field: str) -> FieldType:
    own = type_of(cls, field)
    if own is None:
        raise UsageError(f"the setting {field} is of a type that cannot be tried")
    return own


def _values(resolved: Resolved) -> dict[str, Any]:
    """The plain values of the recipe, those of extensions as ``mixup_alpha``."""
    values = {name: plain(getattr(resolved.trainer, name)) for name in type(resolved.trainer).model_fields}
    for part in resolved.parts:
        for field in type(part.settings).model_fields:
            values[flat_name(part.name, field)] = plain(getattr(part.settings, field))
    return values


def pairs(option: str, texts: Sequence[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values from ``NAME=VALUES`` texts, or from a mapping.

    Raises:
        UsageError: a text has no ``=``, or a name is missing.
    """
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, Mapping):
        return [(str(name), value) for name, value in texts.items()]
    found = []
    for text in texts:
        name, equals, values = str(text).partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} {shown(text)}: write NAME=VALUES, such as lr=0.1,0.01")
        found.append((name, values))
    return found
