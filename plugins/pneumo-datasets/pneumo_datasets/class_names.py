"""Names of classes and labels: which one means normal, in which order they stand, and which are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pneumo_cli import DataError, UsageError

_NORMAL = frozenset(
    {
        "normal", "normals", "healthy", "negative", "no finding", "no findings", "nofinding", "control", "controls",
        "no pneumonia", "non pneumonia",
    }
)  # fmt: skip
_SHOWN = 10  # names in a message


def means_normal(name: str) -> bool:
    """Whether a class is that of images without the finding.

    >>> means_normal("No_Finding"), means_normal("COVID")
    (True, False)
    """
    return name.casefold().replace("_", " ").replace("-", " ").strip() in _NORMAL


def check_shown(names: Iterable[str], where: str) -> None:
    """Check that names of classes can be shown: terminals obey control characters, and no font has them.

    Args:
        where: as the message shows it.

    Raises:
        DataError: one has other characters.
    """
    for name in names:
        if not name.isprintable():
            raise DataError(
                f"{where} has a class {name[:40]!r} with characters that cannot be shown: rename it"
            )


def chosen_classes(
    names: Sequence[str], wanted: Sequence[str], where: str, what: str = "label", at_least: int = 1
) -> tuple[str, ...]:
    """The wanted names, in any case, in order; without a wish all, exclusive ones with a normal one first.

    Args:
        names: all that there are.
        where, what: what has them, and what they are, as messages show it.
        at_least: how many are needed; more than one: they are exclusive.

    Raises:
        DataError: a name has characters that cannot be shown.
        UsageError: one does not occur or is named twice, or there are too few.
    """
    check_shown(names, where)
    if not wanted:
        if at_least < 2:
            return tuple(names)
        return tuple(sorted(names, key=lambda name: (not means_normal(name), name.casefold(), name)))
    folded = {name.casefold(): name for name in names}
    shown = ", ".join(name[:40] for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    for name in wanted:
        if name.casefold() not in folded:
            raise UsageError(f"classes: {where} has no {what} {name!r}; it has: {shown}")
        if [one.casefold() for one in wanted].count(name.casefold()) > 1:
            raise UsageError(f"classes: {name!r} is named twice")
    if len(wanted) < at_least:
        raise UsageError(f"classes: {wanted[0]!r} is one class alone: name two or more of {shown}")
    return tuple(folded[name.casefold()] for name in wanted)
