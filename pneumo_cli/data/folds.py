"""K-fold cross-validation: the train pool in K folds, of which each validates once and trains otherwise.

Patients stay together, and so do identical images (:func:`pneumo_cli.data.splits.patient_groups`); records of the
train pool that share a patient or an image with the test pool are excluded; labels and subtypes are spread evenly
(stratified group K-fold). A single division of the pool is the business of :mod:`pneumo_cli.data.splits`; which
runs the folds become, that of :mod:`pneumo_cli.training.groups`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pneumo_cli.data.records import Record
from pneumo_cli.data.sample_rng import shuffled
from pneumo_cli.data.splits import Positions, Split, groups_apart_from_test
from pneumo_cli.errors import DataError, UsageError


def fold_split(
    records: Sequence[Record], folds: int, fold: int, seed: int = 42, classes: Sequence[str] = ()
) -> Split:
    """The split in which one fold validates, the others train, and the test pool tests.

    Args:
        records: all records of a dataset.
        folds: K, at least 2.
        fold: the one that validates, 1 to K.
        seed: of the division into folds: the same for all of them.
        classes: the labels' names, for errors.

    Raises:
        UsageError: a number is out of its range.
        DataError: a fold, whichever, would leave a class without an image.
    """
    if not 1 <= fold <= folds:
        raise UsageError(f"there is no fold {fold} of {folds}: name one with --fold 1 to --fold {folds}")
    parts, excluded = divide(records, folds, seed, classes)
    train = np.concatenate([part for number, part in enumerate(parts, 1) if number != fold])
    test = [position for position, record in enumerate(records) if record.pool == "test"]
    return Split(
        train=np.sort(train),
        validation=parts[fold - 1],
        test=np.array(test, np.int64),
        excluded=excluded,
        policy="patient",
        seed=seed,
        fraction=1 / folds,
    )


def divide(
    records: Sequence[Record], folds: int, seed: int = 42, classes: Sequence[str] = ()
) -> tuple[list[Positions], Positions]:
    """Divide the train pool into folds, the same whatever order the records come in.

    The groups that belong together, the largest first and those of one size in a random order, each go to the fold
    that has the least of their labels and subtypes so far: where each group has one label and subtype, two folds
    differ in it by at most its largest group.

    Args:
        records, folds, seed, classes: as for :func:`fold_split`.

    Returns:
        the folds' positions in ``records``, int64 and rising; and those of the records that are in none.

    Raises:
        UsageError: there are fewer than 2 folds.
        DataError: a fold has no image of a class that the pool has.
    """
    if folds < 2:
        raise UsageError(f"cross-validation needs at least 2 folds, not {folds}")
    groups, excluded = groups_apart_from_test(records)
    strata = [Counter((records[i].label, records[i].subtype) for i in group) for group in groups]
    totals: Counter[tuple[int, str]] = sum(strata, Counter())
    filled: list[Counter[tuple[int, str]]] = [Counter() for _ in range(folds)]
    members: list[list[int]] = [[] for _ in range(folds)]
    order = shuffled(seed, 0, np.arange(len(groups))).tolist()
    for number in sorted(order, key=lambda number: -len(groups[number])):
        wanted = strata[number]

        def crowding(fold: int, wanted: Counter[tuple[int, str]] = wanted) -> tuple[float, int]:
            share = sum(count * filled[fold][key] / totals[key] for key, count in wanted.items())
            return share, len(members[fold])

        chosen = min(range(folds), key=crowding)
        filled[chosen].update(wanted)
        members[chosen] += groups[number]
    _check_classes(records, groups, members, classes)
    return [np.array(sorted(part), np.int64) for part in members], np.array(sorted(excluded), np.int64)


def _check_classes(
    records: Sequence[Record], groups: list[list[int]], folds: list[list[int]], classes: Sequence[str]
) -> None:
    labels = {records[position].label for group in groups for position in group}
    if not labels:
        raise DataError("the train pool has no images apart from the test pool's patients: nothing to divide")
    for number, fold in enumerate(folds, 1):
        missing = labels - {records[position].label for position in fold}
        if missing:
            label = min(missing)
            having = sum(any(records[position].label == label for position in group) for group in groups)
            title = classes[label] if label < len(classes) else f"class {label}"
            advice = f"choose --folds {having} or fewer" if having >= 2 else "they cannot be cross-validated"
            raise DataError(
                f"with {len(folds)} folds, fold {number} has no image of {title}: the train pool has {having} "
                f"separable groups of patients with such images; {advice}"
            )
