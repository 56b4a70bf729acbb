"""Ensembles of classifiers, and opening models by their paths; torch is imported only where a model is a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.level_decoding import check_decodable
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.ensemble import ensemble_rule
from pneumo_cli.inference.predictor import BatchPrediction, Predictor, Sized
from pneumo_cli.inference.values import EnsembleValues, ValuePredictor, scaled
from pneumo_cli.installation import pip_install
from pneumo_cli.plugins.discovery import PluginProblem, Plugins
from pneumo_cli.plugins.requests import PredictorRequest
from pneumo_cli.registry import Registries
from pneumo_cli.runs.folder import GroupFolder, RunFolder, is_group
from pneumo_cli.runs.index import bare

_log = logging.getLogger("pneumo")
_READERS = {".onnx": "pneumo-export", ".pt2": "pneumo-export"}  # plugins for formats of exported models


class EnsemblePredictor(Predictor):
    """An ensemble: the runs of a cross-validation, of several seeds, or of different networks.

    The logit is the mean of the members' calibrated logits (by each one's own temperature and bias): the
    geometric mean of their odds (of exclusive classes: of their probabilities, scaled to the sum 1), logarithmic
    pooling (Genest & Zidek 1986). Unlike a mean of probabilities it does not pull members that agree towards one
    half. Thresholds are averaged likewise
    (:func:`pneumo_cli.evaluation.ensemble.ensemble_rule`): positive is predicted where the members' logits exceed
    their own thresholds on average. An image is flagged as OOD where its scores, in multiples of the members'
    own thresholds, exceed 1 on average.

    Args:
        members: two or more.

    Raises:
        UsageError: their classes differ.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        self.members = tuple(members)
        self.sizes = tuple(sorted({size for member in members for size in member.sizes}))
        self.channels, self.bits = members[0].channels, members[0].bits
        self.facts = {"runs": [dict(member.facts) for member in members]}
        self.rule = ensemble_rule([member.rule.at(member.point.name) for member in members])
        self.point = self.rule.point

    @property
    def ood_threshold(self) -> float | None:
        """1, in multiples of the members' own thresholds; None if none of them has an OOD detector."""
        return 1.0 if any(member.ood_threshold for member in self.members) else None

    @property
    def count(self) -> int:
        """The number of models in it."""
        return sum(member.count for member in self.members)

    def logits(self, images: Sized) -> NDArray[np.float64]:
        """The mean of the members' calibrated logits, [B] or [B, K]."""
        return self.predict_batch(images).logits

    def predict_batch(self, images: Sized) -> BatchPrediction:
        """The mean over the members, each on images of its own size."""
        logits, ood_scores = [], []
        for member in self.members:
            batch = member.predict_batch(images)
            logits.append(member.rule.calibrated(batch.logits))
            if member.ood_threshold:
                ood_scores.append(batch.ood_scores / member.ood_threshold)
        return BatchPrediction(
            np.mean(logits, axis=0),
            np.mean(ood_scores, axis=0) if ood_scores else np.zeros(len(logits[0])),
            tuple(self.rule.probabilities(one) for one in logits),
        )

    def maps(self, images: Sized, positive: NDArray[np.bool_ | np.int64]) -> NDArray[np.float32]:
        """The mean of the members' maps, at the largest of their sizes."""
        import torch

        size = self.sizes[-1]
        maps = [torch.from_numpy(scaled(member.maps(images, positive), size)) for member in self.members]
        return torch.stack(maps).mean(0).numpy()


def open_predictor(plugins: Plugins, paths: Sequence[Path], **options: Any) -> Predictor:
    """Open the classifiers at some paths, see :func:`open_models`.

    Raises:
        UsageError: as there, or the models classify no images.
    """
    predictor = open_models(plugins, paths, **options)
    if isinstance(predictor, ValuePredictor):
        raise UsageError(f"{paths[0]} predicts {', '.join(predictor.units)}, and classifies no images")
    return predictor


def open_models(
    plugins: Plugins,
    paths: Sequence[Path],
    *,
    point: str = "",
    checkpoint: str = "best",
    flags: Mapping[str, Any] | None = None,
    overlays: bool = False,
    prevalence: float | None = None,
) -> Predictor | ValuePredictor:
    """Open the models at some paths (run folders, groups of runs, formats of plugins); several as an ensemble.

    Args:
        paths: one or more.
        point: the name of an operating point; empty: each model's own.
        checkpoint: of the run folders among them, ``best`` or ``last``.
        flags: settings that replace the runs' own, such as ``device``; None stands for not given.
        overlays: whether maps will be requested.
        prevalence: the prevalence of class 1 to adjust probabilities to, 0 < prevalence < 1; None: that of each
            model's own validation images.

    Raises:
        UsageError: there is no model at a path; a plugin or package is missing; the models have different
            classes or images, or two are the same; an uncalibrated model, or one of more than two classes, cannot
            be adjusted to a prevalence; image files cannot be decoded to the models' images.
        PneumoError: a file is damaged.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    places = model_places(plugins, paths)
    request = PredictorRequest(plugins, point, checkpoint, given, overlays)
    opened = [_open(plugins, path, request) for path in places]
    _check_images(opened, places)
    if len(opened) > 1:
        check_distinct(zip(places, (one.weights for one in opened), strict=True))
    members = [one for one in opened if isinstance(one, Predictor)]
    if len(members) < len(opened):
        if members:
            raise UsageError(
                f"{members[0].facts.get('run')} classifies images, which the other models do not"
            )
        if point or prevalence is not None:
            raise UsageError(
                f"{places[0]} classifies no images: --operating-point and --prevalence are for classes"
            )
        return _values([one for one in opened if isinstance(one, ValuePredictor)], places)
    if len(members) > 1:
        ensemble_rule([member.rule for member in members])  # refuses other classes
        _warn_of_different_data(members, places)
    if prevalence is not None:
        for member, path in zip(members, places, strict=True):
            try:
                member.rule = member.rule.for_prevalence(prevalence)
            except UsageError as error:
                raise UsageError(f"{path}: {error}") from error
    return members[0] if len(members) == 1 else EnsemblePredictor(members)


def _values(members: Sequence[ValuePredictor], places: Sequence[Path]) -> ValuePredictor:
    if len(members) == 1:
        return members[0]
    _warn_of_different_data(members, places)
    return EnsembleValues(members)


def check_distinct(models: Iterable[tuple[Path, str]]) -> None:
    """Refuse the same model under two paths: a run and a copy of it, or a model exported from it.

    Args:
        models: path and digest of the weights of each; the digest is empty if it is not known.

    Raises:
        UsageError: two digests are equal.
    """
    seen: dict[str, Path] = {}
    for path, digest in models:
        if digest and digest in seen:
            raise UsageError(
                f"{seen[digest]} and {path} are the same model (equal weights): a model counts once"
            )
        seen[digest] = path


def _check_images(members: Sequence[Predictor | ValuePredictor], places: Sequence[Path]) -> None:
    """Check that image files can be decoded to what the models take, which is the same for all of them."""
    first = members[0]
    for member, place in zip(members, places, strict=True):
        if (member.channels, member.bits) != (first.channels, first.bits):
            raise UsageError(
                f"{places[0]} takes images of {first.channels} channels and {first.bits} bits, and {place} of "
                f"{member.channels} and {member.bits}: an ensemble's models take the same"
            )
        try:
            check_decodable(member.channels, member.bits)
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from error


def model_places(registries: Registries, paths: Sequence[Path]) -> list[Path]:
    """The single models at some paths: of a group of runs its finished members, with a warning about the others.

    Raises:
        UsageError: a group has no finished member or is damaged, or a model is named twice.
    """
    places: list[Path] = []
    for path in paths:
        if is_group(path):
            from pneumo_cli.runs.groups import finished_members

            places += [member.path for member in finished_members(registries, GroupFolder(path))]
        else:
            places.append(path)
    seen = set()
    for place in places:
        if place.resolve() in seen:
            raise UsageError(f"{place} is named twice: a model counts once")
        seen.add(place.resolve())
    return places


def _warn_of_different_data(members: Sequence[Predictor | ValuePredictor], places: Sequence[Path]) -> None:
    by_data = {
        str(data): f"{place} on {bare(member.facts.get('dataset'))}"
        for member, place in zip(members, places, strict=True)
        if (data := member.facts.get("data_fingerprint"))
    }
    if len(by_data) > 1:
        _log.warning(
            "these models were trained on different data (%s): the ensemble has not been validated",
            "; ".join(by_data.values()),
        )


def _open(plugins: Plugins, path: Path, request: PredictorRequest) -> Predictor | ValuePredictor:
    failures: list[PluginProblem] = []
    predictor = plugins.first("open_predictor", failures=failures, path=path, request=request)
    if predictor is None and path.is_file():  # and so no run
        if failures:
            raise UsageError(f"{path} cannot be read: {'; '.join(map(str, failures))}")
        if reader := _READERS.get(path.suffix.lower()):
            raise UsageError(f"{path}: no plugin here reads it: {pip_install(reader)}")
    for problem in failures:
        _log.warning("%s", problem)
    if predictor is None:
        folder = RunFolder.open(path)
        from pneumo_cli.inference.run_predictors import run_predictor
        from pneumo_cli.trainers.loading import load_trained

        trained = load_trained(plugins, folder, request.checkpoint, request.flags)
        predictor = run_predictor(trained, request.operating_point)
    if not isinstance(predictor, Predictor | ValuePredictor):
        raise PneumoError(f"{path}: a plugin returned {type(predictor).__name__}, which is not a Predictor")
    if predictor.facts.get("synthetic") is None:  # not finished, so there is no report
        name = predictor.facts.get("dataset")
        entries = [one for one in plugins.datasets.entries() if name in (one.spec.name, one.qualified_name)]
        if entries:
            predictor.facts = {**predictor.facts, "synthetic": entries[0].spec.synthetic}
    return predictor
