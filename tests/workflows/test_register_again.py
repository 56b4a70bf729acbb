"""What is registered again: nothing of the earlier version is left, and each part belongs to the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pneumo_cli.data import decoders
from pneumo_cli.workflows.installed import installed
from tests.workflows.test_register import cell, registered

__all__ = ["cell"]

PLUGIN = """
def build(channels, outputs):
    return nn.Sequential(nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(16 * channels, outputs))

class Mine:
    @hookimpl
    def register_models(self):
        for name in {names}:
            yield ModelSpec(name=name, kind="classifier", summary="From a hook", factory="__main__:build")

pneumo.register(Mine())
"""
MODEL = "pneumo.register(build, name='one')"


def names() -> set[str]:
    return {spec.name for spec in registered("models")}


def test_a_plugin_that_is_registered_again_has_only_the_parts_of_its_last_version(
    cell: Callable[..., Any],
) -> None:
    cell(PLUGIN.format(names=("one", "two")))
    before = installed()
    cell(PLUGIN.format(names=("two", "three")))
    assert names() == {"two", "three"}
    assert set(before.models.names()) >= {"one", "two"}  # of who has begun with it
    cell("class Mine:\n    def epoch_finished(self): pass\npneumo.register(Mine)")
    assert not names()
    assert not installed().registered


def test_a_part_belongs_to_the_last_one_that_registered_it(cell: Callable[..., Any]) -> None:
    cell(PLUGIN.format(names=("one", "two")) + MODEL)
    assert installed().registered.keys() == {"plugin mine", "model one"}
    assert [spec.summary for spec in registered("models")] == ["Registered as one", "From a hook"]
    cell(PLUGIN.format(names=("two",)))  # without the model that has been registered since
    assert names() == {"one", "two"}
    cell(PLUGIN.format(names=("one",)))
    assert installed().registered.keys() == {"plugin mine"}
    assert [spec.summary for spec in registered("models")] == ["From a hook"]
    cell(PLUGIN.format(names=()))
    assert not names()


def test_a_family_of_models_is_replaced_too(cell: Callable[..., Any]) -> None:
    family = "pneumo.register(ModelFamily(name='zoo', kind='classifier', summary='{}', members='__main__:members'))"
    cell("from pneumo_cli.api import ModelFamily\ndef members(pattern): return []\n" + family.format("Zoo"))
    cell(family.format("Other"))
    assert [one.spec.summary for one in installed().models.families] == ["Other"]


def test_a_plugin_that_only_observes_is_no_part_of_a_recipe(cell: Callable[..., Any]) -> None:
    cell("class Listener:\n    def epoch_finished(self, metrics): pass\npneumo.register(Listener)")
    assert [plugin.name for plugin in installed().loaded if plugin.provenance.distribution == "registered"]
    assert not installed().registered
    cell("class Steps:\n    @hookimpl\n    def around_loss(self): return None\npneumo.register(Steps)")
    assert installed().registered.keys() == {"plugin steps"}


def test_image_formats_are_those_of_the_process_at_once(
    cell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "_registered", ())  # which is put back
    source = """
from pneumo_cli.api import DecoderSpec

class Formats:
    @hookimpl
    def register_decoders(self):
        yield DecoderSpec(name="{name}", summary="A format", suffixes=(".{name}",), magic=(((0, b"n+1"),),),
                          decode="__main__:nn")

pneumo.register(Formats())
"""
    cell(source.format(name="first"))
    assert ".first" in decoders.suffixes()
    cell(source.format(name="second"))
    assert {".first", ".second"} & set(decoders.suffixes()) == {".second"}
