"""The splits and samplers of plugins (``SplitSpec``, ``SamplerSpec``): found, called, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.records import Record
from pneumo_cli.data.splits import Positions, Split, pool_positions
from pneumo_cli.errors import DataError, PneumoError, UsageError, nearest
from pneumo_cli.registry import Entry, Registry, Spec
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.specs import SamplerSpec, SplitSpec, load_reference


def find_registered(registry: Registry[Spec], name: str, own: Iterable[str]) -> Entry[Spec] | None:
    """Look up a name that is pneumo's own or a plugin's.

    Args:
        own: pneumo's names, which a plugin's bare name does not replace.

    Returns:
        None for one of pneumo's own.

    Raises:
        UsageError: the name is unknown (with the nearest names) or ambiguous.
    """
    own = tuple(own)
    if name in own:
        return None
    if ":" not in name and not registry.find(name):
        raise UsageError(f"unknown {registry.noun} {name!r}; {nearest(name, [*own, *registry.names()])}")
    return registry.get(name)


def split_by(
    entry: Entry[SplitSpec], records: Sequence[Record], policy: str, fraction: float, seed: int
) -> Split:
    """Divide the train pool as a plugin says.

    Args:
        records: all records of a dataset.
        policy: the name that the split was asked for by.
        fraction: share of the train pool for validation, between 0 and 1.

    Raises:
        UsageError: the fraction is not between 0 and 1, or the plugin cannot be imported.
        DataError: the plugin fails, or gives no such division.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the validation fraction has to be between 0 and 1, not {fraction}")
    who = f"the split {entry.spec.name} ({entry.provenance})"
    function = _loaded(who, entry.spec.split)

    def divided() -> tuple[Positions, Positions]:
        given = _called(who, "split", function, tuple(records), fraction, seed)
        if not isinstance(given, tuple) or len(given) != 2:
            _refuse(who, f"split() gives {type(given).__name__}: give (train, validation)")
        train, validation = (_positions(who, "split", part, len(records)) for part in given)
        return train, validation

    train, validation = divided()
    pool = np.zeros(len(records), bool)
    pool[pool_positions(records, "train")] = True
    for name, part in (("training", train), ("validation", validation)):
        if not len(part):
            _refuse(who, f"split() gives no image for {name}")
        if len(np.unique(part)) < len(part):
            _refuse(who, f"split() gives a record twice for {name}")
        if not pool[part].all():
            record = records[int(part[~pool[part]][0])]
            _refuse(who, f"split() gives record {record.name!r} of the test pool for {name}")
    if len(both := np.intersect1d(train, validation)):
        name = records[int(both[0])].name
        _refuse(who, f"split() gives record {name!r} for training and for validation")
    if not all(map(np.array_equal, divided(), (train, validation))):
        _refuse(who, "split() gives another division each time: let it depend on records, fraction and seed")
    return Split(
        train=train,
        validation=validation,
        test=np.array(pool_positions(records, "test"), np.int64),
        excluded=np.zeros(0, np.int64),
        policy=policy,
        seed=seed,
        fraction=fraction,
    )


class RegisteredSampling:
    """The training images of each epoch, chosen by a plugin. An :class:`~pneumo_cli.data.class_sampling.Sampling`.

    Args:
        positions: of the training images, int64 [n].
        records: all records of the dataset.
        seed: of the run.

    Raises:
        UsageError: the plugin cannot be imported.
        DataError: it fails, or gives no such choice.
    """

    def __init__(
        self, entry: Entry[SamplerSpec], positions: Positions, records: Sequence[Record], seed: int
    ) -> None:
        self._who = f"the sampling {entry.spec.name} ({entry.provenance})"
        self._function = _loaded(self._who, entry.spec.sample)
        self._positions, self._records, self._seed = positions, records, seed
        self._training = np.zeros(len(records), bool)
        self._training[positions] = True
        first = self._chosen(1)
        self.size = len(first)
        if not self.size:
            _refuse(self._who, "sample() gives no image")
        if not np.array_equal(first, self._chosen(1)):
            _refuse(
                self._who, "sample() gives others each time: let them depend on records, seed and epoch alone"
            )

    def of(self, epoch: int) -> Positions:
        """The positions of an epoch; repetition r of an image is its position + r * N."""
        chosen = self._chosen(epoch)
        if len(chosen) != self.size:
            _refuse(
                self._who,
                f"sample() gives {len(chosen):,} images for epoch {epoch} and {self.size:,} for the first: give "
                "as many for each",
            )
        order = np.argsort(chosen, kind="stable")
        ranked = chosen[order]
        starts = np.flatnonzero(np.diff(ranked, prepend=-1))
        repetition = np.arange(len(ranked)) - np.repeat(starts, np.diff(starts, append=len(ranked)))
        numbered = np.empty_like(chosen)
        numbered[order] = ranked + repetition * len(self._records)
        return numbered

    def _chosen(self, epoch: int) -> Positions:
        given = _called(
            self._who, "sample", self._function, self._positions.copy(), self._records, self._seed, epoch
        )
        chosen = _positions(self._who, "sample", given, len(self._records))
        if not self._training[chosen].all():
            record = self._records[int(chosen[~self._training[chosen]][0])]
            _refuse(self._who, f"sample() gives record {record.name!r}, which is not for training")
        return chosen


def _loaded(who: str, reference: str) -> Callable[..., Any]:
    with plugin_errors(f"{who} cannot be imported from {reference}"):
        function: Callable[..., Any] = load_reference(reference)
    return function


def _called(who: str, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    with plugin_errors(f"{who}: {name}() failed", passing=(PneumoError,), kind=DataError):
        return function(*arguments)


def _positions(who: str, name: str, given: Any, count: int) -> NDArray[np.int64]:
    """The positions that a plugin gives, as int64 [n], each from 0 to ``count`` - 1."""
    with plugin_errors(f"{who}: {name}() gives no positions", kind=DataError):
        values = np.asarray(given)
    if values.size and (values.ndim != 1 or values.dtype.kind not in "iu"):
        _refuse(who, f"{name}() gives {values.dtype.name} {list(values.shape)}: give whole numbers [n]")
    if values.size and not (values.min() >= 0 and values.max() < count):
        worst = values.max() if values.min() >= 0 else values.min()
        _refuse(who, f"{name}() gives the position {worst}: there are {count:,} records, from 0")
    return values.reshape(-1).astype(np.int64)


def _refuse(who: str, what: str) -> NoReturn:
    raise DataError(f"{who}: {what}")
