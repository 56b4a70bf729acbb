"""Families of models: one line in lists, looked up by name; those that fail are one-line errors."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.registry import Registries
from pneumo_cli.specs import ModelFamily, ModelSpec

PLUGIN = """
from pneumo_cli.api import ModelFamily, hookimpl
api_version = 1
@hookimpl
def register_models():
    yield ModelFamily(name="zoo", kind="classifier", summary="Animals", members="zoo_models:members")
"""
MODELS = """
from fnmatch import fnmatchcase
from pneumo_cli.api import ModelSpec
def members(pattern):
    for name in ("zoo/small_cat.v1", "zoo/large_cat", "zoo/dog"):
        if fnmatchcase(name, pattern):
            yield ModelSpec(name=name, kind="classifier", summary="A model", factory="tiny_net:build")
"""


@pytest.fixture
def zoo(install: Callable[..., None], fakes: object) -> None:
    install("pneumo-zoo", {"zoo": "zoo_plugin"}, {"zoo_plugin": PLUGIN, "zoo_models": MODELS}, "1.2")


@pytest.mark.usefixtures("zoo")
def test_a_model_of_a_family_is_found_by_name_and_by_distribution() -> None:
    models = discover().models
    for name in ("zoo/small_cat.v1", "pneumo-zoo:zoo/small_cat.v1"):
        entry = models.get(name)
        assert (entry.qualified_name, str(entry.provenance)) == (
            "pneumo-zoo:zoo/small_cat.v1",
            "pneumo-zoo 1.2",
        )
    assert not [name for name in models.names() if name.startswith("zoo")]
    assert models.knows("zoo/whatever")
    assert not models.knows("zoo")
    assert not models.knows("pneumo-other:zoo/dog")


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zoo/small_ca", "unknown model 'zoo/small_ca'; did you mean zoo/small_cat.v1"),
        ("zoo/[xyz]", "unknown model 'zoo/[xyz]'; pneumo list-models zoo/ shows 3 names"),
        ("zoo/", "unknown model 'zoo/'"),
    ],
)
def test_an_unknown_name_gets_similar_ones(name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        discover().models.get(name)
    assert words in str(caught.value)


@pytest.mark.usefixtures("zoo")
def test_lists_show_the_family_and_a_search_its_models(pneumo: Callable[..., object]) -> None:
    def names(*words: str) -> list[str]:
        return [row["name"] for row in json.loads(pneumo("list-models", *words, "--json").stdout)]

    assert "zoo/*" in names()
    assert "zoo/dog" not in names()
    assert names("zoo/") == names("zoo/*") == ["zoo/small_cat.v1", "zoo/large_cat", "zoo/dog"]
    assert names("cat") == ["zoo/small_cat.v1", "zoo/large_cat"]
    assert names("*_cat") == ["zoo/large_cat"]
    assert names("tiny-net") == ["tiny-net"]
    refused = pneumo("list-models", "unicorn")
    assert (refused.code, refused.stdout) == (2, "")
    assert "no model's name contains or matches 'unicorn'" in refused.stderr


def test_two_distributions_with_one_family_are_ambiguous(install: Callable[..., None], zoo: None) -> None:
    install("pneumo-park", {"park": "park_plugin"}, {"park_plugin": PLUGIN})
    models = discover().models
    with pytest.raises(UsageError, match="choose pneumo-park:zoo/dog or pneumo-zoo:zoo/dog"):
        models.get("zoo/dog")
    assert models.get("pneumo-park:zoo/dog").provenance.distribution == "pneumo-park"
    assert sorted(models.search("zoo/dog")) == ["pneumo-park:zoo/dog", "pneumo-zoo:zoo/dog"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import library_of_theirs", "ModuleNotFoundError: No module named 'library_of_theirs'"),
        ("def members(pattern): 1 / 0", "ZeroDivisionError: division by zero"),
        (
            "def members(pattern): return ['x']",
            "TypeError: broken_models:members returned 'x', not a model of",
        ),
        ("def members(pattern): return None", "TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_a_family_that_fails_is_a_one_line_error_and_breaks_no_list(
    source: str, words: str, install: Callable[..., None], fakes: object, pneumo: Callable[..., object]
) -> None:
    plugin = PLUGIN.replace("zoo_models", "broken_models")
    install("pneumo-zoo", {"zoo": "zoo_plugin"}, {"zoo_plugin": plugin, "broken_models": source})
    assert pneumo("list-models").code == 0
    failed = pneumo("show", "zoo/dog")
    assert failed.code == 2
    (line,) = failed.stderr.splitlines()
    assert "the models zoo/ (pneumo-zoo 1.0) cannot be looked up: " in line
    assert words in line


def test_a_family_of_a_bundled_distribution_that_is_not_installed_is_named() -> None:
    with pytest.raises(UsageError, match="'timm/resnet18' comes with pneumo-timm, which is not installed"):
        Registries().models.get("timm/resnet18")


@pytest.mark.parametrize("name", ["timm/vit_small_patch14_dinov2.lvd142m", "resnet18", "a-b_c.d/e9"])
def test_names_of_models_may_be_those_of_a_library(name: str) -> None:
    assert ModelSpec(name=name, kind="classifier", summary="A", factory="a:b").name == name


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "a/../b", "A", "a b", "a:b", "a\n", "9a", "a*"])
def test_other_names_of_models_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"lower-case words joined by '-' or '_' or '\.' or '/'"):
        ModelSpec(name=name, kind="classifier", summary="A", factory="a:b")


@pytest.mark.parametrize("name", ["a_b", "a/b", "a.b"])
def test_names_of_families_are_as_strict_as_all_others(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case words joined by '-'"):
        ModelFamily(name=name, kind="classifier", summary="A", members="a:b")
