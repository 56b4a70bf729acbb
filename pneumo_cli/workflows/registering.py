"""``pneumo_cli.register``: what is defined in a notebook or script becomes a part that runs can name.

Specs refer to their implementation as ``module:attribute``. The objects are attributes of a module that exists in
this process alone, as long as a spec refers to them.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import re
import sys
import typing
import weakref
from collections.abc import Callable
from dataclasses import fields
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pneumo_cli.errors import UsageError, named_type, nearest, one_line
from pneumo_cli.plugins.hookspecs import LIFECYCLE_HOOKS
from pneumo_cli.plugins.in_memory import with_plugin, with_spec
from pneumo_cli.plugins.isolation import implemented_hooks
from pneumo_cli.plugins.registration import SPECS
from pneumo_cli.specs import DatasetSpec, ModelSpec, Preset, TrainerSpec
from pneumo_cli.workflows.failures import one_line_errors
from pneumo_cli.workflows.installed import installed, replace

if TYPE_CHECKING:
    from pneumo_cli.data.records import Dataset, DatasetRequest

_Part = TypeVar("_Part")
_numbers = itertools.count(1)
_objects = sys.modules.setdefault("pneumo_registered", ModuleType("pneumo_registered"))


@overload
def register(part: None = None, /, *, name: str | None = None, **values: Any) -> Callable[[_Part], _Part]: ...


@overload
def register(part: _Part, /, *, name: str | None = None, **values: Any) -> _Part: ...


def register(part: Any = None, /, *, name: str | None = None, **values: Any) -> Any:
    """Let runs of this process use something that is defined in a notebook cell or script; also as a decorator.

    Example::

        @pneumo.register
        class TwoLayers(nn.Module):
            "Two layers."

            def __init__(self, channels, outputs): ...

        pneumo.run("cnn", model="two-layers")

    Args:
        part: one of

            - a subclass of ``torch.nn.Module``, or a function that returns a module: a model. It takes what its
              kind asks for, such as ``channels`` and ``outputs`` (:class:`~pneumo_cli.api.ModelSpec`).
            - a subclass of :class:`~pneumo_cli.data.Dataset`, an instance of one, or a function that takes
              ``request`` (:class:`~pneumo_cli.data.DatasetRequest`) and returns one: a dataset.
            - a subclass of :class:`~pneumo_cli.trainers.Trainer`: a trainer. Its settings class is that of its
              annotation ``settings: MySettings``.
            - a spec of :mod:`pneumo_cli.api`, whose references may lead into the notebook: ``__main__:build``.
            - a plugin: a module or an object with hooks (``@hookimpl``), or the class of such an object. Methods
              with the names of lifecycle hooks need no ``@hookimpl``: the object observes all further runs.
        name: None: a dataset's own name, else the name of class or function in lower case: ``TwoLayers`` is
            ``two-layers``.
        values: further attributes of the spec, such as ``kind``, ``summary`` (else the first line of the
            docstring), ``settings``, ``needs_root``, ``presets``; functions and classes where the spec has
            references. A trainer's ``kind``, ``model`` and ``presets`` are by default those of the registered
            trainer that it derives from, else ``classifier``, the model ``cnn``, and no further values.

    Returns:
        the part, unchanged. What was registered under its name before is replaced, with all that a plugin added;
        a run that goes on keeps it, except for image formats.

    Raises:
        UsageError: it is no such object, something about it is wrong, or an installed plugin has its name.
    """
    if part is None:
        return lambda one: register(one, name=name, **values)
    with one_line_errors():
        if isinstance(part, tuple(kind for kinds in SPECS.values() for kind in kinds)):
            if name is not None or values:
                raise UsageError("a spec has its name and values: register it without others")
            spec = part
        else:
            spec = _described(part, name, values)
        if spec is not None:
            replace(lambda plugins: with_spec(plugins, spec))
            return part
        if values:
            raise UsageError(f"a plugin takes no {min(values)}: its hooks say what it adds")
        plugin = _object_of(part) if inspect.isclass(part) else part
        own = name or _name_of(part if isinstance(part, ModuleType) else type(plugin))
        replace(lambda plugins: with_plugin(plugins, own, plugin))
    return part


def _described(part: Any, name: str | None, values: dict[str, Any]) -> Any:
    """The spec of a model, dataset or trainer; None: it is a plugin.

    Raises:
        UsageError: it cannot be registered.
    """
    import torch

    from pneumo_cli.data.records import Dataset
    from pneumo_cli.trainers.base import Trainer

    if isinstance(part, torch.nn.Module):
        raise UsageError(
            f"a {type(part).__name__} is a module that exists already, and each run begins with a new one: "
            "register its class, or a function that returns a new one"
        )
    if isinstance(part, Trainer):
        raise UsageError(f"register the class {type(part).__name__}, not an object of it")
    kind = part if inspect.isclass(part) else type(part)
    if issubclass(kind, Trainer):
        return _made(TrainerSpec, part, name, {"trainer": part, **_of_trainer(part, values), **values})
    if issubclass(kind, Dataset):
        own = getattr(part, "name", None)
        named = name or (own if isinstance(own, str) else _name_of(kind))
        return _dataset(part, named, values)
    if issubclass(kind, torch.nn.Module):
        return _made(ModelSpec, part, name, {"factory": part, "kind": "classifier", **values})
    if inspect.isroutine(part) and not inspect.isclass(part):
        if _opens_dataset(part):
            return _dataset(part, name or _name_of(part), values)
        return _made(ModelSpec, part, name, {"factory": part, "kind": "classifier", **values})
    if _has_hooks(part):
        return None
    what = f"the class {part.__name__}" if inspect.isclass(part) else named_type(part)
    raise UsageError(
        f"{what} cannot be registered: give a Trainer, nn.Module or Dataset class, a function that returns a "
        "module or dataset, a dataset, a spec of a part (pneumo_cli.api), or a module or object with hooks "
        "(@hookimpl)"
    )


def _object_of(part: type) -> object:
    try:
        return part()
    except TypeError as error:
        raise UsageError(
            f"{part.__name__}() failed: {one_line(error)}; register an object of the class: {part.__name__}(…)"
        ) from error


def _has_hooks(part: object) -> bool:
    if inspect.isclass(part) and any(callable(getattr(part, hook, None)) for hook in LIFECYCLE_HOOKS):
        return True
    try:
        return bool(implemented_hooks(part))
    except ValueError:  # there is no such hook, which is said later
        return True


def _dataset(part: Any, name: str, values: dict[str, Any]) -> DatasetSpec:
    synthetic = getattr(part, "synthetic", False)
    given = {"factory": Opening(part, name), "synthetic": synthetic is True, **values}
    spec: DatasetSpec = _made(DatasetSpec, part, name, given)
    return spec


class Opening:
    """The factory of a registered dataset.

    Args:
        part: a dataset, its class, or a function that returns it.
        name: that it is registered under.
    """

    def __init__(self, part: Any, name: str) -> None:
        self.part, self.name = part, name

    def __call__(self, request: DatasetRequest) -> Dataset:
        if not callable(self.part):
            dataset = copy.copy(self.part)  # each opening is told what it was opened from
        else:
            positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            parameters = inspect.signature(self.part).parameters.values()
            takes = [one for one in parameters if one.kind in positional]
            needs = any(one.name == "request" or one.default is one.empty for one in takes)
            dataset = self.part(request) if needs else self.part()
        if getattr(dataset, "name", None) != self.name and hasattr(dataset, "__dict__"):
            object.__setattr__(dataset, "name", self.name)
        return dataset  # type: ignore[no-any-return]  # the caller checks it

    def __reduce__(self) -> tuple[Any, ...]:
        """What it consists of, for its digest: records have a fingerprint of their own."""
        if callable(self.part):
            return Opening, (self.part, self.name)
        state = {name: value for name, value in vars(self.part).items() if name not in _NOT_READ}
        return Opening, (type(self.part), self.name), state


_NOT_READ = ("records", "fingerprint", "opened_from")


def _opens_dataset(function: Callable[..., Any]) -> bool:
    from pneumo_cli.data.records import Dataset

    try:
        signature = inspect.signature(function)
    except ValueError:  # of a function that is not Python's
        return False
    returned = signature.return_annotation
    of_dataset = inspect.isclass(returned) and issubclass(returned, Dataset)
    return of_dataset or returned == "Dataset" or list(signature.parameters) == ["request"]


def _of_trainer(trainer: type, values: dict[str, Any]) -> dict[str, Any]:
    """What the spec of a trainer has by default."""
    from pneumo_cli.settings.schema import TrainerSettings

    plugins = installed()
    specs = {entry.spec.trainer: entry.spec for entry in plugins.trainers.entries()}
    defaults: dict[str, Any] = {}
    for base in trainer.__mro__:
        if "settings" not in {**values, **defaults} and (own := _annotated_settings(base)):
            defaults["settings"] = own
        if (spec := specs.get(f"{base.__module__}:{base.__qualname__}")) is not None:
            given = {
                "settings": spec.settings,
                "kind": spec.kind,
                "model": spec.model,
                "presets": spec.presets,
            }
            defaults = {**given, **defaults}
            break
    defaults.setdefault("settings", TrainerSettings)
    kind = values.get("kind", defaults.get("kind", "classifier"))
    if kind != defaults.get("kind"):
        models = [entry.spec.name for entry in plugins.models.entries() if entry.spec.kind == kind]
        defaults |= {"kind": kind, "model": "cnn" if kind == "classifier" or not models else models[0]}
    return {"presets": (Preset(name="default", summary="The settings' defaults"),), **defaults}


def _annotated_settings(trainer: type) -> type | None:
    """The class that the annotation ``settings: MySettings`` of a class names.

    Raises:
        UsageError: the annotation leads nowhere.
    """
    from pneumo_cli.settings import schema

    hint = vars(trainer).get("__annotations__", {}).get("settings")
    names = {**vars(schema), **vars(sys.modules.get(trainer.__module__, schema))}
    try:
        found = typing.get_type_hints(SimpleNamespace(__annotations__={"settings": hint}), names)["settings"]
    except (NameError, AttributeError) as error:
        raise UsageError(
            f"the annotation settings: {hint} of {trainer.__name__} leads nowhere ({one_line(error)}): define or "
            "import it, not only for type checkers, or name the class with settings=…"
        ) from error
    return found if inspect.isclass(found) and issubclass(found, schema.TrainerSettings) else None


def _made(spec: Any, part: Any, name: str | None, values: dict[str, Any]) -> Any:
    """A spec whose references lead to the objects among its values."""
    known = [field.name for field in fields(spec)]
    for value in values:
        if value not in known:
            what = spec.__name__.removesuffix("Spec").lower()
            raise UsageError(f"a {what} has no {value!r}; {nearest(value, known)}")
    named = name or _name_of(part)
    summary = values.pop("summary", None) or (inspect.getdoc(part) or "").partition("\n")[0].strip()
    kept: list[str] = []
    try:
        made = spec(
            name=named,
            summary=summary or f"Registered as {named}",
            **{
                key: _reference(named, value, kept) if callable(value) else value
                for key, value in values.items()
            },
        )
    except (TypeError, ValueError) as error:
        _forget(kept)
        hint = "" if name else "; give it another one: name='…'" if "the name" in str(error) else ""
        raise UsageError(f"{error}{hint}") from error
    weakref.finalize(made, _forget, kept)
    return made


def _reference(name: str, value: Any, kept: list[str]) -> str:
    attribute = f"{re.sub(r'[^0-9A-Za-z]', '_', name)}_{next(_numbers)}"
    attribute = attribute if attribute[0].isalpha() else f"part_{attribute}"
    setattr(_objects, attribute, value)
    kept.append(attribute)
    return f"{_objects.__name__}:{attribute}"


def _forget(attributes: list[str]) -> None:
    for attribute in attributes:
        vars(_objects).pop(attribute, None)


def _name_of(part: Any) -> str:
    """``two-layers`` of the class ``TwoLayers``, the function ``two_layers`` or its module.

    >>> _name_of(ModuleType("MyCNNModel2"))
    'my-cnn-model2'
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", part.__name__.rpartition(".")[2])
    return words.replace("_", "-").strip("-").lower()
