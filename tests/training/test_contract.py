"""What a trainer returns: what is taken, and how what is wrong is refused, before it trains."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation import Evaluation, NamedFigure, NamedTable, RunSummary
from pneumo_cli.runs import Monitor
from pneumo_cli.training.breaches import Breach
from pneumo_cli.training.contract import (
    checked_calibration,
    checked_details,
    checked_epoch_images,
    checked_evaluation,
    checked_summary,
)
from tests.training.probe import Probe

INDEX = np.arange(4)


def test_numbers_of_numpy_and_torch_become_plain_ones() -> None:
    given = Evaluation(
        {
            "loss": np.float32(0.5),
            "a": torch.tensor(1.5, dtype=torch.float64),
            "b": np.array(2),
            "c": Fraction(1, 4),
            "d": np.nan,
        },
        outputs={"index": torch.arange(4), "logits": torch.ones(4, 3, dtype=torch.bfloat16)},
        intervals={"a": np.array([1, 2])},
        tables=(NamedTable("Sizes", ("image", "px"), (("first", 3.5),)),),
        details={
            "bins": np.arange(3),
            "at": {"low": [torch.tensor(float("inf")), np.float32(2)], 3: (1, None)},
        },
    )
    found = checked_evaluation(given, INDEX)
    metrics = {name: value for name, value in found.metrics.items() if name != "d"}
    assert metrics == {"loss": 0.5, "a": 1.5, "b": 2.0, "c": 0.25}
    assert {type(value) for value in found.metrics.values()} == {float}
    assert np.isnan(found.metrics["d"])
    assert {name: (type(value), value.shape) for name, value in found.outputs.items()} == {
        "index": (np.ndarray, (4,)),
        "logits": (np.ndarray, (4, 3)),
    }
    assert found.intervals == {"a": (1.0, 2.0)}
    assert found.tables[0].rows == (("first", "3.5"),)
    assert found.details == {"bins": [0, 1, 2], "at": {"low": [None, 2.0], "3": [1, None]}}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"metrics": {"auc": "0.5"}}, "metrics['auc'] is the text '0.5'; a metric is one number"),
    "boolean": ({"metrics": {"auc": True}}, "metrics['auc'] is True"),
    "NumPy boolean": ({"metrics": {"auc": np.bool_(True)}}, "metrics['auc'] is"),
    "None": ({"metrics": {"auc": None}}, "metrics['auc'] is None"),
    "array": ({"metrics": {"auc": np.ones(3)}}, "metrics['auc'] is an array float64 [3]"),
    "1-d tensor": ({"metrics": {"auc": torch.ones(1)}}, "metrics['auc'] is a tensor float32 [1]"),
    "complex": ({"metrics": {"auc": 1j}}, "metrics['auc'] is a complex"),
    "number as name": ({"metrics": {3: 1.0}}, "metrics have the name 3"),
    "name of two lines": ({"metrics": {"a\nb": 1.0}}, r"metrics have the name 'a\nb'"),
    "list of metrics": ({"metrics": [1.0]}, "metrics are a list"),
    "no index": ({"outputs": {"logits": np.ones(4)}}, "outputs lack 'index'"),
    "index of reals": ({"outputs": {"index": np.arange(4.0)}}, "outputs['index'] is an array float64 [4]"),
    "3 axes": (
        {"outputs": {"index": INDEX, "maps": np.ones((4, 2, 2))}},
        "outputs['maps'] is an array float64 [4, 2, 2]",
    ),
    "fewer rows": (
        {"outputs": {"index": INDEX, "logits": np.ones(3)}},
        "outputs['logits'] has 3 rows, and outputs['index'] 4",
    ),
    "twice": ({"outputs": {"index": np.array([0, 1, 1, 2])}}, "holds an image more than once"),
    "a part": ({"outputs": {"index": np.arange(3)}}, "holds 3 images, and not just the 4 of the split"),
    "others": ({"outputs": {"index": INDEX + 1}}, "not just the 4 of the split"),
    "list": ({"outputs": {"index": INDEX, "logits": [1, 2, 3, 4]}}, "outputs['logits'] is a list"),
    "objects": (
        {"outputs": {"index": INDEX, "x": np.array([None] * 4)}},
        "outputs['x'] is an array object [4]",
    ),
    "object in details": (
        {"details": {"calibration": {"bins": [0, 1, 2, object()]}}},
        "details.calibration.bins[3] is an object, which JSON does not have",
    ),
    "set in details": ({"details": {"names": {1}}}, "details.names is a set"),
    "tuple as key": ({"details": {"pairs": {(1, 2): 3}}}, "details.pairs has the key (1, 2)"),
    "too much": ({"details": {"maps": np.zeros(1_100_000)}}, "details hold more than 1,000,000 values"),
    "interval of nothing": ({"intervals": {"f1": (0, 1)}}, "intervals['f1'] is of no metric"),
    "interval upside down": ({"intervals": {"auc": (1, 0)}}, "intervals['auc'] is (1.0, 0.0)"),
    "half an interval": ({"intervals": {"auc": (1,)}}, "intervals['auc'] is a tuple"),
    "no table": ({"tables": ("x",)}, "tables[0] is the text 'x', not a NamedTable"),
    "one table": ({"tables": NamedTable("T", ("a",), ())}, "tables are a NamedTable, not a tuple"),
    "long row": (
        {"tables": (NamedTable("T", ("a",), (("x", "y"),)),)},
        "the table 'T': row 0 has 2 cells, and the head 1",
    ),
    "cell": ({"tables": (NamedTable("T", ("a",), ((None,),)),)}, "row 0 has a cell that is None"),
    "row of letters": ({"tables": (NamedTable("T", ("a", "b"), ("xy",)),)}, "row 0 is the text 'xy'"),
    "no figure": ({"figures": (lambda: None,)}, "figures[0] is a function, not a NamedFigure"),
}


@pytest.mark.parametrize(("parts", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_an_evaluation_is_named_with_its_place(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(Breach) as caught:
        checked_evaluation(Evaluation(**{"metrics": {"auc": 0.5}, **parts}), INDEX)
    assert message in str(caught.value)


def test_details_that_contain_themselves_are_refused() -> None:
    details: dict[str, Any] = {}
    details["again"] = details
    with pytest.raises(Breach, match="nested more than 64 levels deep"):
        checked_details(details)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.floats(width=32).map(np.float32)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(), inner, max_size=4),
        st.lists(st.floats(), max_size=4).map(np.array),
        st.lists(st.integers(-9, 9), max_size=4).map(torch.tensor),
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_details_that_are_taken_are_json_and_stay_as_they_are(details: dict[str, Any]) -> None:
    found = checked_details(details)
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found == checked_details(found)


@pytest.mark.parametrize("value", [None, [1], {"rule": object()}, {"bins": np.ones(3)}, {("a",): 1}])
def test_a_calibration_that_no_checkpoint_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(Breach):
        checked_calibration(value)


@pytest.mark.parametrize(
    "value",
    [3, RunSummary({"kid": "low"}), RunSummary(notes="one sentence"), RunSummary(figures=("x",))],
)
def test_a_wrong_summary_is_refused(value: Any) -> None:
    with pytest.raises(Breach):
        checked_summary(value)


@pytest.mark.parametrize("value", [np.zeros((2, 8, 8)), torch.zeros(2, 8, 8), torch.zeros(2, 1, 8, 8).byte()])
def test_images_of_an_epoch_of_another_type_or_shape_are_refused(value: Any) -> None:
    with pytest.raises(Breach, match="uint8"):
        checked_epoch_images(value)


@pytest.mark.parametrize("name", ["../../x", "a/b", "a b", "ROC", "", ".hidden", 3, "x" * 101])
def test_a_figures_name_is_that_of_a_file(name: Any) -> None:
    with pytest.raises(ValueError, match="lower-case words joined by '-'"):
        NamedFigure(name, "A curve.", lambda: None)


def test_groups_that_no_report_has_are_refused() -> None:
    groups = "opening, errors, results, summary, explanations, training, samples"
    with pytest.raises(ValueError, match=f"there are {groups}"):
        NamedFigure("curve", "A curve.", lambda: None, "result")
    with pytest.raises(ValueError, match="there are summary, explanations"):
        RunSummary(group="evaluations")
    assert RunSummary(group="why").group == "explanations", "the name of version 0.1"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "maximum"}, "is 'max' or 'min', not 'maximum'"),
        ({"mode": None}, "is 'max' or 'min', not None"),
        ({"side": "val"}, "is 'validation' or 'train', not 'val'"),
        ({"metric": None}, "is the name of a metric, not None"),
    ],
)
def test_a_monitor_that_would_be_misread_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Monitor(**{"metric": "auc", "mode": "max", **wrong})


class Upwards(Probe):
    @property
    def monitor(self):
        return Monitor("accuracy", "maximum")


class Once(Probe):
    scheduler_interval = "epochs"


class Letters(Probe):
    curves = "loss"


class Pair(Probe):
    monitor = ("loss", "min")


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (Upwards, "ValueError: the mode of the monitor of 'accuracy' is 'max' or 'min', not 'maximum'"),
        (Once, "its scheduler_interval is 'epochs', not 'epoch' or 'update'"),
        (Letters, "its curves are 'loss'"),
        (Pair, "its monitor is ('loss', 'min'), not a Monitor"),
    ],
)
def test_a_declaration_that_would_be_misread_ends_a_run_before_it_has_a_folder(
    trainer: type, message: str, runner_of
) -> None:
    with pytest.raises(UsageError) as caught:
        runner_of(trainer)
    assert str(caught.value).startswith("the trainer fake (pneumo-fake 1.0) cannot be used: ")
    assert message in str(caught.value)
    assert not Path("runs").exists()


class NoLossTensor(Probe):
    def train_step(self, run, batch):
        return {"loss": float(super().train_step(run, batch)["loss"])}


class LossPerImage(Probe):
    def train_step(self, run, batch):
        return {"loss": super().train_step(run, batch)["loss"].expand(len(batch.labels))}


class NoLoss(Probe):
    def train_step(self, run, batch):
        return {"energy": super().train_step(run, batch)["loss"]}


class Maps(Probe):
    def train_step(self, run, batch):
        return {**super().train_step(run, batch), "maps": batch.images.detach()}


class Sometimes(Probe):
    def train_step(self, run, batch):
        further = {"energy": torch.zeros(())} if run.step else {}
        return {**super().train_step(run, batch), **further}


class OwnIndex(Probe):
    def train_step(self, run, batch):
        return {**super().train_step(run, batch), "index": batch.index}


class Texts(Probe):
    def training_metrics(self, run, means, outputs):
        return {"loss": "low"}


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (NoLossTensor, "train_step: its 'loss' is 0."),
        (LossPerImage, "train_step: its 'loss' has the shape [8]; it has to be 0-d"),
        (NoLoss, "train_step: it returned no 'loss'"),
        (Maps, "train_step: its 'maps' has the shape [8, 3, 32, 32]; it has to be 0-d, [8] or [8, K]"),
        (Sometimes, "it returned energy (0-d), loss (0-d), and in the steps before loss (0-d)"),
        (OwnIndex, "train_step: its 'index' is the name of the images' positions"),
        (Texts, "training_metrics: metrics['loss'] is the text 'low'"),
    ],
)
def test_wrong_outputs_of_a_step_are_named_at_that_step(trainer: type, message: str, runner_of) -> None:
    runner = runner_of(trainer)
    with pytest.raises(PneumoError) as caught:
        runner.start()
    assert str(caught.value).startswith("trainer fake (pneumo-fake 1.0) broke the contract of ")
    assert message in str(caught.value)
    assert runner.run.epoch == 1
