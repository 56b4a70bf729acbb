"""Labels in the columns of a table: one column of classes, or a column of 1, 0 and -1 for each label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pneumo_cli import DataError
from pneumo_datasets.class_names import chosen_classes, means_normal
from pneumo_datasets.settings import LabelSettings

UNKNOWN, OTHER = -1, -2
"""In place of a class: it is not known; it is none of the chosen ones."""

MAX_CLASSES = 1000
_AS = {"zeros": "count as absent", "ones": "count as present", "ignore": "are unknown"}
_COUNTS_AS = {"zeros": 0, "ones": 1, "ignore": UNKNOWN}
_SHOWN = 10


@dataclass(frozen=True)
class Labels:
    """The labels of the rows of a table.

    Attributes:
        classes: names; the index is the label.
        multilabel: whether a row has a value for each class, else it has the index of one.
        rows: of each row 1, 0 or :data:`UNKNOWN` for each class, or one number: the class, :data:`UNKNOWN` or
            :data:`OTHER`.
        note: how they were read, in a sentence.
    """

    classes: tuple[str, ...]
    multilabel: bool
    rows: Sequence[tuple[int, ...]]
    note: str

    def joined(self, rows: Sequence[int], how: str) -> tuple[int, ...] | None:
        """The labels of an image with several rows; None: they cannot be joined.

        Args:
            rows: positions of its rows.
            how: ``refuse``, ``any`` or ``majority``; rows with equal labels are joined in any case.
        """
        if len(rows) == 1:
            return self.rows[rows[0]]
        several = [self.rows[row] for row in rows]
        if len(set(several)) == 1:
            return several[0]
        if how == "refuse":
            return None
        if not self.multilabel and len(self.classes) > 2:
            most = max(set(several), key=several.count)
            return most if how == "majority" and 2 * several.count(most) > len(several) else None
        return tuple(_joined(values, how) for values in zip(*several, strict=True))


def _joined(values: Sequence[int], how: str) -> int:
    known = [value for value in values if value >= 0]
    if not known:
        return max(values)
    if how == "any":
        return max(known)
    return int(2 * sum(known) > len(known))


def labels_of_column(
    column: str, values: Sequence[str], wanted: Sequence[str], settings: LabelSettings
) -> Labels:
    """Read a column that names the class, or several labels, or holds 0 and 1.

    Args:
        column: its name.
        values: row by row.
        wanted: the classes to take, in order; none: all, a normal one first.

    Raises:
        DataError: it has one value alone, or too many for classes.
        UsageError: a wanted class does not occur or is named twice, or is one alone.
    """
    spelling = _spellings(set(values) - {""})
    distinct = sorted(set(spelling.values()))
    if len(distinct) == 1 and "" in values and settings.missing == "zeros":
        return labels_of_texts(column, values, "|", (), wanted, settings)
    if len(distinct) < 2:
        has = f"one value alone, {distinct[0][:40]!r}" if distinct else "no values"
        remedy = "; if an empty one means without it: --missing zeros" if distinct and "" in values else ""
        raise DataError(
            f"the label column {column!r} has {has}: a classifier needs two or more classes{remedy}"
        )
    if all(_number(value) is not None for value in distinct):
        present = [name for name in wanted if name.casefold() != f"no {column}".casefold()]
        return labels_of_columns([column], [values], present, settings)
    separator = next((one for one in "|;," if any(one in value for value in distinct)), "")
    if separator:
        return labels_of_texts(column, values, separator, (), wanted, settings)
    _check_number(column, len(distinct))
    classes = chosen_classes(distinct, wanted, f"the label column {column!r}", at_least=2)
    index = {name: label for label, name in enumerate(classes)}
    rows = [(index.get(spelling[value], OTHER) if value else UNKNOWN,) for value in values]
    return Labels(classes, False, rows, f"Classes are from the column {column!r}{_merged(spelling)}.")


def labels_of_texts(
    column: str,
    values: Sequence[str],
    separator: str,
    known: Sequence[str],
    wanted: Sequence[str],
    settings: LabelSettings,
) -> Labels:
    """Read a column that names all labels of an image; a normal one stands for none.

    Args:
        separator: between the labels in a value.
        known: all labels that there are, in order; none: those that occur.

    Raises:
        DataError: a label is not known, or there are too many.
        UsageError: as :func:`labels_of_column`.
    """
    parsed = {text: [name.strip() for name in text.split(separator) if name.strip()] for text in set(values)}
    spelling = {} if known else _spellings({name for names in parsed.values() for name in names})
    parsed = {text: [spelling.get(name, name) for name in names] for text, names in parsed.items()}
    found = {name for names in parsed.values() for name in names if not means_normal(name)}
    if known and (strange := sorted(found - set(known))):
        raise DataError(
            f"the label column {column!r} has an unknown label {strange[0][:40]!r}; known: {', '.join(known)}"
        )
    names = list(known) or sorted(found, key=str.casefold)
    _check_number(column, len(names))
    classes = chosen_classes(names, wanted, f"the label column {column!r}")
    absent = _COUNTS_AS[settings.missing]
    rows_of = {
        text: tuple(int(name in present) for name in classes) if present else (absent,) * len(classes)
        for text, present in parsed.items()
    }
    empty = f"; empty ones: {settings.missing}" if "" in parsed else ""
    note = f"Labels are from the column {column!r}, separated by {separator!r}{_merged(spelling)}{empty}."
    return _several_or_binary(Labels(classes, True, [rows_of[text] for text in values], note))


def labels_of_columns(
    columns: Sequence[str], values: Sequence[Sequence[str]], wanted: Sequence[str], settings: LabelSettings
) -> Labels:
    """Read a column for each label: 1 present, 0 absent, -1 uncertain, or empty.

    Args:
        columns: their names, which are those of the labels.
        values: of each column, row by row.

    Raises:
        DataError: a value is something else, or a label that is read alone has one value.
        UsageError: as :func:`labels_of_column`.
    """
    classes = chosen_classes(list(columns), wanted, "the table")
    counts_as: dict[int | None, int] = {
        1: 1, 0: 0, -1: _COUNTS_AS[settings.uncertain], None: _COUNTS_AS[settings.missing],
    }  # fmt: skip
    read = []
    seen: set[int | None] = set()
    for name in classes:
        texts = values[list(columns).index(name)]
        numbers: dict[str, int] = {}
        for text in set(texts):
            number = _number(text) if text else None
            if text and number is None:
                row = texts.index(text) + 1
                raise DataError(
                    f"the label column {name!r} has {text[:40]!r} in row {row:,}: a label is 1, 0, -1 or empty"
                )
            numbers[text] = counts_as[number]
            seen.add(number)
        read.append([numbers[text] for text in texts])
    source = f"{len(classes)} columns" if len(classes) > 1 else f"the column {classes[0]!r}"
    uncertain = f"; uncertain ones (-1) {_AS[settings.uncertain]}" if -1 in seen else ""
    empty = f"; empty ones {_AS[settings.missing]}" if None in seen else ""
    note = f"Labels are from {source} of 1 and 0{uncertain}{empty}."
    rows = _shared(zip(*read, strict=True))
    if len(classes) > 1 and all(sum(row) == 1 and min(row) == 0 for row in rows):
        note += " Each row has exactly one: for exclusive classes, name it in one column (--label-column)."
    labels = _several_or_binary(Labels(classes, True, rows, note))
    if not labels.multilabel and len({row for row in labels.rows if row[0] >= 0}) < 2:
        raise DataError(
            f"the label column {classes[0]!r} has one value alone: a classifier needs both 0 and 1"
        )
    return labels


def _shared(rows: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The rows, with one object for those that are equal."""
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    return [known.setdefault(row, row) for row in rows]


def _several_or_binary(labels: Labels) -> Labels:
    """Labels of one class alone as those of two classes: without and with it."""
    if len(labels.classes) > 1:
        return labels
    name = labels.classes[0]
    return replace(labels, classes=(f"no {name}", name), multilabel=False)


def _number(text: str) -> int | None:
    """1, 0 or -1, however it is written; None: something else."""
    value = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}.get(text.casefold())
    if value is None:
        try:
            value = float(text)
        except ValueError:
            return None
    return int(value) if value in (-1, 0, 1) else None


def _spellings(names: Iterable[str]) -> dict[str, str]:
    """The name that each name stands for: those that differ in case alone are one, as class folders are."""
    first: dict[str, str] = {}
    return {name: first.setdefault(name.casefold(), name) for name in sorted(names)}


def _merged(spelling: dict[str, str]) -> str:
    """Which names are taken for others, for a note; empty: none."""
    others = [f"{name!r} as {other!r}" for name, other in spelling.items() if name != other]
    return f" ({', '.join(others[:_SHOWN])}{', …' if len(others) > _SHOWN else ''})" if others else ""


def _check_number(column: str, number: int) -> None:
    if number > MAX_CLASSES:
        raise DataError(
            f"the label column {column!r} has {number:,} different labels, more than {MAX_CLASSES:,}: is it the "
            "right column?"
        )
