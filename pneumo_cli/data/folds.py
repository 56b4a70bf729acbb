"""Stratified group K-fold cross-validation: each of K folds of the train pool is the validation set once.

All images of a patient and identical images are in one fold (:func:`pneumo_cli.data.splits.patient_groups`);
records of the train pool that share a patient or an image with the test pool are excluded; labels and subtypes are
balanced. Single splits are in :mod:`pneumo_cli.data.splits`, the runs of the folds in
:mod:`pneumo_cli.training.groups`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pneumo_cli.data.records import Record
from pneumo_cli.data.sample_rng import shuffled
from pneumo_cli.data.splits import (
    Positions,
    Split,
    Stratum,
    counted_strata,
    groups_apart_from_test,
    pool_positions,
    shown_classes,
)
from pneumo_cli.errors import DataError, UsageError
from pneumo_cli.runtime.garbage import uncollected


def fold_split(
    records: Sequence[Record], folds: int, fold: int, seed: int = 42, classes: Sequence[str] = ()
) -> Split:
    """The split with one fold for validation, the others for training, and the test pool for testing.

    Args:
        records: all records of a dataset.
        folds: K, at least 2.
        fold: the validation fold, 1 to K.
        seed: of the division into folds; the same for all folds.
        classes: names of the labels, for error messages.

    Raises:
        UsageError: a number is out of its range.
        DataError: any of the folds would have no image of a class.
    """
    if not 1 <= fold <= folds:
        raise UsageError(f"there is no fold {fold} of {folds}: name one with --fold 1 to --fold {folds}")
    members, excluded = divide(records, folds, seed, classes)
    train = np.concatenate([positions for number, positions in enumerate(members, 1) if number != fold])
    return Split(
        train=np.sort(train),
        validation=members[fold - 1],
        test=np.array(pool_positions(records, "test"), np.int64),
        excluded=excluded,
        policy="patient",
        seed=seed,
        fraction=1 / folds,
    )


@uncollected()
def divide(
    records: Sequence[Record], folds: int, seed: int = 42, classes: Sequence[str] = ()
) -> tuple[list[Positions], Positions]:
    """Divide the train pool into folds, independently of the order of the records.

    The groups of patients, largest first and in random order within a size, each go to the fold with the fewest
    records of their labels and subtypes so far. If each group has one label and subtype, the counts of these differ
    between folds by at most the largest group.

    Args:
        records, folds, seed, classes: as for :func:`fold_split`.

    Returns:
        the positions of each fold in ``records``, int64, ascending; and the positions that are in none.

    Raises:
        UsageError: there are fewer than 2 folds.
        DataError: a fold has no image of a class that the pool has.
    """
    if folds < 2:
        raise UsageError(f"cross-validation needs at least 2 folds, not {folds}")
    groups, excluded = groups_apart_from_test(records)
    strata_of, totals = counted_strata(records, groups)
    filled: list[Counter[Stratum]] = [Counter() for _ in range(folds)]
    members: list[list[int]] = [[] for _ in range(folds)]
    order = shuffled(seed, 0, np.arange(len(groups))).tolist()
    for number in sorted(order, key=lambda number: -len(groups[number])):
        counts = strata_of[number]

        def load(fold: int, counts: Counter[Stratum] = counts) -> tuple[float, int]:
            share = sum(count * filled[fold][key] / totals[key] for key, count in counts.items())
            return share, len(members[fold])

        emptiest = min(range(folds), key=load)
        filled[emptiest].update(counts)
        members[emptiest] += groups[number]
    _check_classes(records, groups, members, classes)
    return [np.array(sorted(fold), np.int64) for fold in members], np.array(sorted(excluded), np.int64)


def _check_classes(
    records: Sequence[Record], groups: list[list[int]], folds: list[list[int]], classes: Sequence[str]
) -> None:
    labels = shown_classes(records, (position for group in groups for position in group))
    if not groups:
        raise DataError("all images of the train pool are of patients of the test pool: nothing to divide")
    for number, fold in enumerate(folds, 1):
        missing = labels - shown_classes(records, fold)
        if missing:
            label = min(missing)
            count = sum(label in shown_classes(records, group) for group in groups)
            title = classes[label] if label < len(classes) else f"class {label}"
            advice = f"choose --folds {count} or fewer" if count >= 2 else "they cannot be cross-validated"
            raise DataError(
                f"with {len(folds)} folds, fold {number} has no image of {title}: the train pool has {count} "
                f"separable groups of patients with such images; {advice}"
            )
