"""The dataset ``phantom-age``: pneumo-phantom's images, each with the age of the child in place of a class.

The phantom has children of one to five years, whose chests are the more bell-shaped the younger they are. It does
not state the age; here it is what the shape of the thorax means on a scale from 1 to 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pneumo_cli.data import DatasetRequest, Record, Target
from pneumo_phantom.dataset import PhantomDataset
from pneumo_phantom.rendering import anatomy_of

YOUNGEST, OLDEST = 1.0, 5.0
_NARROWEST, _WIDEST = 1.8, 2.7  # the range of Anatomy.conicity


class PhantomAge(PhantomDataset):
    """Synthetic chest radiographs with ``age`` in years.

    Args:
        images: in total; a fifth of them are the test pool.
    """

    name = "phantom-age"
    targets: Sequence[Target] = (Target("age", "number", "age in years"),)

    def __init__(self, images: int) -> None:
        super().__init__(train_images=images - images // 5, test_images=images // 5)
        aged = [replace(one, label=0, subtype="", numbers=(self.age(one),)) for one in self.records]
        self.classes = ()
        self.records = tuple(sorted(aged, key=lambda record: record.name))

    def age(self, record: Record) -> float:
        """The age of the child in years, the same in all its images."""
        subject, _ = self.subject_of(record)
        share = (anatomy_of(subject).conicity - _NARROWEST) / (_WIDEST - _NARROWEST)
        return YOUNGEST + (OLDEST - YOUNGEST) * share


def open_dataset(request: DatasetRequest) -> PhantomAge:
    """The registered factory."""
    return PhantomAge(int(request.options["cohort"]))
