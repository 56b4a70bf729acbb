"""Names of versions before 0.2, which plugins and scripts may still import.

The tables are consulted only where an import or an attribute lookup would fail. Nothing of pneumo is imported
before; each use is a DeprecationWarning with the present name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from operator import attrgetter
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

_ROOMS = {
    "inference": "predictors",
    "plugins": "hookspecs",
    "runs": "checkpoints folder",
    "runtime": "atomic devices progress seeding",
    "settings": "recipes",
    "trainers": "backbone classification generative optimization pretrained targets transfer",
    "training": "loaders runner",
}
"""Modules that have kept their name, by the package that they are in now."""

_MODULES: Mapping[str, str] = {
    **{name: f"{room}.{name}" for room, names in _ROOMS.items() for name in names.split()},
    "data.augment": "data.augmentation data.sample_rng",
    "data.inputs": "data.batch_inputs",
    "data.paths": "data.input_paths",
    "data.scanner": "data.scanner_augmentation",
    "data.store": "data.imports",
    "decision": "evaluation.decision_rule",
    "evaluation.direction": "evaluation.metric_names",
    "evaluation.distances": "evaluation.generative.distances",
    "evaluation.extractors": "trainers.feature_extractors evaluation.generative.features",
    "evaluation.intervals": "evaluation.confidence.intervals",
    "evaluation.neighbours": "evaluation.generative.memorization",
    "evaluation.novelty": "evaluation.ood",
    "evaluation.references": "evaluation.generative.baselines",
    "evaluation.saliency": "evaluation.grad_cam",
    "evaluation.thumbnails": "evaluation.linear_baseline",
    "layers": "settings.resolve runs.record",
    "layertable": "trainers.model_summary",
    "plugins": "plugins.discovery",
    "prediction": "inference.predictor inference.predict",
    "ranks": "runtime.distributed",
    "reports.galleries": "reports.figures.galleries",
    "reports.labels": "evaluation.metric_names runtime.json_values",
    "reports.style": "reports.figures.style",
    "run": "runs.run runs.model_factory",
    "session": "trainers.session runs.record",
    "settings": "settings.schema",
    "trained": "trainers.loading",
    "trainer": "trainers.base runs.run data.batch_inputs",
}
"""The former name of a module to the present homes of its content, below ``pneumo_cli``."""

_NAMES: Mapping[str, str] = {
    "Judgement": "RunSummary",
    "MirroredToo": "FlipTTA",
    "Novelty": "OodDetector",
    "ThumbnailClassifier": "LinearBaseline",
    "MeanPredictor": "EnsemblePredictor",
    "Judged": "BatchPrediction",
    "fit_novelty": "fit_ood_detector",
    "memorisation": "measure_memorization",
    "Memorisation": "Memorization",
}
"""The former name of a class or function to its present one."""


def former_names(module: str) -> Callable[[str], Any]:
    """Return ``__getattr__`` for a module: its content before 0.2, by former and present names."""
    homes = [f"pneumo_cli.{home}" for home in _MODULES.get(module.removeprefix("pneumo_cli."), "").split()]

    def find(name: str) -> Any:
        if not name.startswith("__"):
            for home in homes:
                current = _NAMES.get(name, name)
                found = getattr(importlib.import_module(home), current, None)
                if found is not None:
                    warnings.warn(
                        f"{module}.{name} is {home}.{current} now", DeprecationWarning, stacklevel=2
                    )
                    return found
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find


class _Finder(MetaPathFinder, Loader):
    """Makes a module for a former name, with nothing but a ``__getattr__``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.removeprefix("pneumo_cli.") in _MODULES and fullname.startswith("pneumo_cli."):
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = former_names(module.__name__)  # type: ignore[method-assign]


def install() -> None:
    """Make imports of former names work. The finder is the last one, so other imports are not slower."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def former_keywords(**former: str) -> Callable[[_Function], _Function]:
    """Decorator of a function with renamed keywords: ``former_keywords(cut="logit_threshold")``."""

    def decorate(function: _Function) -> _Function:
        @functools.wraps(function)
        def accepting(*arguments: Any, **options: Any) -> Any:
            for name in former.keys() & options.keys():
                warnings.warn(f"{name} is {former[name]} now", DeprecationWarning, stacklevel=2)
                options.setdefault(former[name], options.pop(name))
            return function(*arguments, **options)

        return accepting  # type: ignore[return-value]

    return decorate


class FormerNames:
    """Base of classes with renamed attributes; ``former`` maps the former names to the present ones.

    A former name works on an instance, that of a method also through ``super()``. A subclass that defines one
    overrides the present one.
    """

    _former: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, former: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, current in cls._former.items():
            if name in vars(cls) and current not in vars(cls):
                setattr(cls, current, _overriding(vars(cls)[name]))
        if former is not None:
            cls._former = {**cls._former, **former}
            for name, current in former.items():
                if callable(getattr(cls, current, None)):
                    setattr(cls, name, _former_method(current))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            current = type(self)._former.get(name)
            if current is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            warnings.warn(f"{name} is {current or 'the same object'} now", DeprecationWarning, stacklevel=2)
            return attrgetter(current)(self) if current else self


def _former_method(current: str) -> Callable[..., Any]:
    """A method under its former name: pneumo's own, also for subclasses that override it and call ``super()``."""

    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        own = (vars(base)[current] for base in type(self).__mro__ if current in vars(base))
        found = next(found for found in own if not hasattr(found, "former"))
        return found(self, *arguments, **options)

    return method


def _overriding(own: Any) -> Any:
    if not callable(own):
        return own

    def overriding(self: Any, *arguments: Any, **options: Any) -> Any:
        return own(self, *arguments, **options)

    overriding.former = True  # type: ignore[attr-defined]
    return overriding
