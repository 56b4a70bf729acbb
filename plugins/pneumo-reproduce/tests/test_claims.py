"""What the report expects is tested on our predictions, and its sign of a GAN's success on our epochs."""

import csv
import re

import numpy as np
import pytest

from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.confidence.intervals import difference_intervals
from pneumo_cli.evaluation.confidence.paired import RESAMPLES, holm
from pneumo_cli.reports.document import Paragraph, Pictures, Table
from pneumo_reproduce.classifiers import EXPECTED, answer, paired_blocks, read_classifiers, roc_picture
from pneumo_reproduce.generator_claim import claim_blocks
from pneumo_reproduce.source_report import source_report
from pneumo_reproduce.values import Ours

SOURCE = source_report()
LABELS = np.array([0, 1] * 60)
PATIENTS = [f"p{i // 2}" for i in range(120)]
SIGNAL = np.random.default_rng(3).normal(0, 1, 120) + (2 * LABELS - 1)


def run_of(folder, task, better, network="some-net"):
    """Our run of a task, with predictions; ``better`` is added to its signal. Also its logits."""
    seed = SOURCE.names().index(task)
    logits = SIGNAL + np.random.default_rng(seed).normal(0, 0.1, 120) + better * (2 * LABELS - 1)
    run = folder / "tasks" / task / "run"
    (run / "predictions").mkdir(parents=True)
    with (run / "predictions" / "test.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "patient", "logits", "labels"])
        writer.writerows(
            (f"{i}.png", PATIENTS[i], float(logits[i]), int(LABELS[i])) for i in range(LABELS.size)
        )
    report = {"model": {"name": network}, "evaluations": {"test": binary_metrics(logits, LABELS)}}
    return Ours({}, report, f"tasks/{task}/run"), logits


def ours_of(folder, **better):
    """Our runs of the classifiers, by how much better each is, and their logits."""
    found = {task: run_of(folder, task, more) for task, more in better.items()}
    ours = {name: Ours({}, {}) for name in SOURCE.names()} | {task: one for task, (one, _) in found.items()}
    return ours, {task: logits for task, (_, logits) in found.items()}


def test_each_pair_has_the_paired_difference_of_its_predictions_adjusted_for_three_pairs(tmp_path):
    ours, logits = ours_of(tmp_path, **{"cnn": 0.0, "feature-extraction": 0.1, "fine-tuning": 0.8})
    found = read_classifiers(tmp_path, SOURCE, ours)
    names = sorted({(pair.first, pair.second) for pair in found.pairs}, key=str)
    wanted = {
        (a, b): difference_intervals(logits[b], logits[a], LABELS, PATIENTS, resamples=RESAMPLES)
        for a, b in names
    }
    assert len(wanted) == 3
    for metric in ("accuracy", "auc"):
        pairs = [pair for pair in found.pairs if pair.metric == metric]
        for pair in pairs:
            # Images are sorted by name, so the last digits of sums may differ.
            assert pair.difference == pytest.approx(wanted[pair.first, pair.second][metric], abs=0.02)
        assert [pair.p for pair in pairs] == holm([pair.difference.p for pair in pairs])
    ((file, _, said),) = map(dict.values, roc_picture(tmp_path, SOURCE, found))
    assert (tmp_path / file).is_file()
    assert f"Fine-tuning {binary_metrics(logits['fine-tuning'], LABELS)['auc']:.3f}" in said


@pytest.mark.parametrize(
    ("better", "result"),
    [
        (1.5, "Here it does, in accuracy and ROC AUC."),
        (-0.9, "Here it does not: feature extraction is better in accuracy and ROC AUC."),
        (0.0, "Here the two do not differ significantly."),
    ],
)
def test_the_expectation_that_fine_tuning_is_better_is_answered_with_intervals(tmp_path, better, result):
    ours, _ = ours_of(tmp_path, **{EXPECTED[0]: 0.0, EXPECTED[1]: better})
    text = answer(SOURCE, ours, read_classifiers(tmp_path, SOURCE, ours))
    assert text.startswith("The report expects fine-tuning to do better than feature extraction")
    assert "0.8590 and 0.7772" in text
    assert result in text
    assert re.search(r"ROC AUC [+-]0\.\d+ \([+-]0\.\d+ to [+-]0\.\d+\), p", text)
    assert "not the report's EfficientNet-B7" in text


def test_without_both_tasks_the_expectation_is_not_tested_yet(tmp_path):
    ours, _ = ours_of(tmp_path, cnn=0.0)
    blocks = [*paired_blocks(SOURCE, ours, read_classifiers(tmp_path, SOURCE, ours))]
    assert not [block for block in blocks if isinstance(block, Table)]
    assert "cannot be tested yet" in blocks[0].text


def test_damaged_or_other_predictions_are_left_out(tmp_path):
    ours, _ = ours_of(tmp_path, **{"cnn": 0.0, "feature-extraction": 0.1, "fine-tuning": 0.2})
    files = {task: tmp_path / ours[task].run / "predictions" / "test.csv" for task in ours if ours[task].run}
    files["feature-extraction"].write_text("nonsense")
    files["fine-tuning"].write_text(files["fine-tuning"].read_text().replace("7.png,p3", "7.png,p9"))
    found = read_classifiers(tmp_path, SOURCE, ours)
    assert (list(found.curves), found.pairs) == (["cnn"], ())


def gan(epochs, kid=None, **summary):
    """Our GAN: (generator loss, discriminator loss) by epoch, and its distances."""
    rows = [
        {
            "epoch": epoch,
            "train": {"generator_loss": g, "discriminator_loss": d, "real_score": 0.5, "fake_score": 0.5},
            "validation": {} if kid is None else {"kid": kid[epoch]},
        }
        for epoch, (g, d) in enumerate(epochs)
    ]
    return Ours({}, {"history": rows, "summary": {"metrics": summary}}, "run")


def said(blocks):
    return " ".join(block.text for block in blocks if isinstance(block, Paragraph))


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([(3, 1), (3, 1), (2, 1.2), (1.5, 1.4), (1, 2)], "fell from 3 to 1 .* rose from 1 to 2: .* a success"),
        ([(1, 2), (1, 2), (2, 1.2), (2, 1), (3, 0.5)], "rose from 1 to 3 .* fell from 2 to 0.5: .* the opposite"),
        ([(1, 1)] * 6, "stayed at 1 .* stayed at 1: by that sign, neither"),
    ],
)  # fmt: skip
def test_the_trend_of_the_losses_is_said_as_the_report_would_read_it(tmp_path, losses, words):
    assert re.search(words, said(claim_blocks(gan(losses), tmp_path)))


def test_the_measures_of_the_images_stand_beside_the_trend(tmp_path):
    mine = gan(
        [(1.0, 1.0), (0.5, 1.2), (0.7, 1.1)],
        kid_pixels=0.3,
        kid_real_pixels=0.02,
        kid_noise_pixels=0.25,
        coverage=0.5,
        coverage_real=0.9,
    )
    blocks = [*claim_blocks(mine, tmp_path)]
    text = said(blocks)
    assert "KID × 1000 of the last epoch's images to real ones is 300" in text
    assert "By this measure they are no better than noise." in text
    assert "They cover 50 % of the real images (other real ones: 90 %)." in text
    assert (
        "The smallest generator loss, 0.5, is that of epoch 1; the distance was measured for the last" in text
    )
    tables = {block.title: block for block in blocks if isinstance(block, Table)}
    assert [row[:2] for row in tables["The images, measured"].rows] == [
        ("Generated, last epoch", "300.0"), ("Real, other patients", "20.0"), ("Noise", "250.0"),
    ]  # fmt: skip
    (picture, *_) = [block for block in blocks if isinstance(block, Pictures)]
    assert (tmp_path / picture.items[0][0]).is_file()


def test_where_the_distance_was_measured_in_every_epoch_it_is_compared_with_the_losses(tmp_path):
    losses = [(1.0, 1.0), *((1 + epoch / 10, 1.0) for epoch in range(1, 13))]
    falling = [0.9 - epoch / 20 for epoch in range(13)]
    text = said(claim_blocks(gan(losses, falling), tmp_path))
    assert "epoch 1, with KID × 1000 of 850; the smallest KID × 1000, 300, is that of epoch 12" in text
    assert "Over 12 epochs the rank correlation of generator loss and KID is -1.00." in text


@pytest.mark.parametrize(
    "history", [[], [{"epoch": 1}], "none", [{"epoch": 1, "train": {"generator_loss": 1}}] * 3]
)
def test_without_losses_there_is_no_section(tmp_path, history):
    assert not [*claim_blocks(Ours({}, {"history": history}, "run"), tmp_path)]
