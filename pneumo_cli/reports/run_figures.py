"""The figures in the report of a run: of its training, its evaluations, its images, and of plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.evaluation.result import Evaluation, NamedFigure, ReportSection
from pneumo_cli.reports.figure_files import FigureFiles
from pneumo_cli.reports.figures import style, training
from pneumo_cli.reports.figures.animation import write_animation
from pneumo_cli.reports.formatting import lowered
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.runs.run import Run

# The report shows ten batches of training images and one of each other split (figures 5-7).
_SAMPLE_BATCHES = {"train": 10, "validation": 1, "test": 1}
_OF_A_BATCH = 4  # images of each training batch; ten whole batches would be megabytes
_COLUMNS = 8
_TITLE = 7  # letters of a label's name above an image, beside the number of further ones


def add_evaluation_figures(files: FigureFiles, split: str, evaluation: Evaluation) -> None:
    """The figures of a split."""
    for figure in evaluation.figures:
        caption = f"{split.capitalize()} set. {figure.caption}"
        what, colon, result = figure.alternative.partition(": ")
        alternative = f"{what} on the {split} set{colon}{result}" if what else ""
        stem = f"figures/{figure.name}-{split}"
        files.add(figure.draw, stem, caption, figure.group, split=split, alternative=alternative)


def add_training_figures(
    run: Run, files: FigureFiles, splits: Sequence[Mapping[str, Any]], own: Sequence[NamedFigure] = ()
) -> None:
    """The curves of the metrics, the learning rate where it changes, and the images of each class.

    Args:
        splits: ``report["dataset"]["split"]["rows"]``.
        own: the trainer's figures; the metrics of which they show the curves are not shown again.
    """
    last, best = run.history[-1], run.best.epoch
    names = list(run.curves) or sorted(last["validation"] or last["train"])
    # The metric that selected the epoch is always shown.
    names = list(dict.fromkeys((*names, run.monitor.metric)))
    names = [name for name in names if name in last["validation"] or name in last["train"]]
    sides = "Training and validation metrics" if last["validation"] else "Training metrics"
    shown = _distinct(run.history, [name for name in names if not any(name in one.curves for one in own)])
    if shown:
        augmented = ", on images as augmented" if is_augmented(run) else ""
        caption = (
            f"{sides} by epoch. Epoch 0 is the untrained model. Training metrics are measured during the epoch"
            f"{augmented}, while the weights change."
        )
        if run.data.task != "binary" and run.data.dataset.classes:
            caption += " Precision, recall and F1 are means over the classes."
        curves = partial(training.curves, run.history, shown, best=best)
        files.add(curves, "figures/curves", caption, "training", alternative=_in_words(run, sides, shown))
    if len({row.get("learning_rate") for row in run.history}) > 1:
        rate = partial(training.learning_rate, run.history)
        first, final = (row.get("learning_rate", 0) for row in (run.history[0], last))
        words = f"Learning rate by epoch: {first:g} at first, {final:g} in the last one."
        files.add(rate, "figures/learning-rate", "Learning rate by epoch.", "training", alternative=words)
    if run.data.dataset.classes:
        balance = partial(training.class_balance, splits)
        which = "with each label" if run.data.task == "multilabel" else "of each class"
        files.add(balance, "figures/class-balance", f"Images {which}, by split.", "data")
    for name in names if run.machine.print_figures else ():
        # One metric in one column, for print; the page shows all of them in one figure.
        draw = partial(training.curve, run.history, name, best=best)
        files.add_unlisted(draw, f"figures/curve-{atomic.file_stem(name)}")


def _distinct(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Without metrics that are everywhere equal to an earlier one: an autoencoder's loss is its squared error."""
    values = {
        name: [number(row[side].get(name)) for row in history for side in ("train", "validation")]
        for name in names
    }
    return [name for i, name in enumerate(names) if values[name] not in [values[one] for one in names[:i]]]


def is_augmented(run: Run) -> bool:
    """Whether training images are transformed in another way than those of the evaluation."""
    train, evaluation = run.transforms
    names = [getattr(one, "identity", None) for one in (train, evaluation)]
    return train is not evaluation and (names[0] is None or names[0] != names[1])


def _in_words(run: Run, sides: str, names: Sequence[str]) -> str:
    """The first, the best and the last value of the monitored metric, or of the first one that is shown."""
    monitor = run.monitor
    name = monitor.metric or names[0]
    side = monitor.side if monitor.metric else "validation"
    side = side if any(name in row[side] for row in run.history) else "train"
    values = {row["epoch"]: row[side][name] for row in run.history if number(row[side].get(name)) is not None}
    if not values:
        return ""
    first, last = min(values), max(values)
    label = lowered(metric_label(name).label)
    words = f"{'Validation' if side == 'validation' else 'Training'} {label}: "
    words += f"{metric_text(name, values[first])} in epoch {first}"
    if monitor.metric and run.best.epoch in values:
        words += f", {metric_text(name, values[run.best.epoch])} in the selected epoch {run.best.epoch}"
    return f"{sides} by epoch. {words}, {metric_text(name, values[last])} in the last, {last}."


def add_section_figures(files: FigureFiles, sections: Sequence[tuple[str, ReportSection]]) -> None:
    """The figures of the sections that plugins add."""
    for place, (plugin, section) in enumerate(sections):
        for figure in section.figures:
            stem, group = f"figures/section-{place}-{figure.name}", f"section-{place}"
            said = figure.alternative
            files.add(figure.draw, stem, figure.caption, group, plugin=plugin, alternative=said)


def add_epoch_images(run: Run, files: FigureFiles) -> None:
    """The images kept of the epochs: some epochs, the selected one among them, and an animation of all."""
    kept = {row["epoch"]: run.folder.epoch_images(row["epoch"]) for row in run.history}
    kept = {epoch: file for epoch, file in kept.items() if file.is_file()}
    if not kept:
        return
    animation = "samples/animation.png"
    write_animation(kept.values(), run.folder.path / animation)
    last = max(kept)
    shown = {animation: f"The same images from epoch {min(kept)} to {last}, as an animation."}
    # The report shows its samples after the first, the middle and the last epoch (figures 51-53).
    for epoch in sorted({min(1, last), -(-last // 2), last, run.best.epoch} & kept.keys()):
        selected = " (selected)" if epoch == run.best.epoch else ""
        shown[str(kept[epoch].relative_to(run.folder.path))] = f"After epoch {epoch}{selected}."
    files.listed += [
        {"file": file, "caption": caption, "group": "training"} for file, caption in shown.items()
    ]


def add_sample_figures(run: Run, loaders: Mapping[str, Loader], files: FigureFiles) -> None:
    """Images of each split, as the model receives them."""
    for split, loader in loaders.items():
        batches = min(_SAMPLE_BATCHES[split], len(loader))
        how = (
            "as augmented in epoch 1"
            if split == "train" and is_augmented(run)
            else "as the model receives them"
        )
        caption = f"Images of the {split} set, {how}."
        if _SAMPLE_BATCHES[split] > 1:
            caption = f"{_OF_A_BATCH} images of each of the first {batches} training batches, {how}."
        if batches:
            grid = partial(_sample_grid, run, split, loader, batches)
            files.add(grid, f"samples/{split}", caption, "samples")


def _sample_grid(run: Run, split: str, loader: Loader, batches: int) -> Figure:
    shown = _OF_A_BATCH if _SAMPLE_BATCHES[split] > 1 else 2 * _COLUMNS
    transform = run.transforms.train if split == "train" else run.transforms.evaluation
    images, titles = [], []
    for _, batch in zip(range(batches), loader, strict=False):
        images.append(transform.display(batch.images[:shown]).cpu().numpy())
        titles += _titles(batch, run.data.dataset.classes)[:shown]
    return training.sample_grid(np.concatenate(images), titles, columns=_COLUMNS)


def _titles(batch: Batch, classes: Sequence[str]) -> list[str]:
    """What is known of each image: its classes, or without any its first number."""
    if classes:
        return [_shown_classes(label, classes) for label in batch.labels.tolist()]
    numbers = [(name, values) for name, values in batch.targets.items() if values.ndim == 1]
    if not numbers:
        return [""] * len(batch.index)
    name, values = numbers[0]
    return [f"{name} {value:.4g}" for value in values.tolist()]


def _shown_classes(label: int | list[int], classes: Sequence[str]) -> str:
    """An image's class; of several labels the first one that is present and the number of the others."""
    if isinstance(label, int):
        return classes[label]
    present = [name for name, value in zip(classes, label, strict=True) if value == 1]
    if len(present) < 2:
        return present[0] if present else "no label"
    return f"{style.shortened(present[0], _TITLE)} + {len(present) - 1}"
