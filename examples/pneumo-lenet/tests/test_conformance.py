"""The model passes pneumo's conformance suite."""

from __future__ import annotations

from pneumo_cli.testing import ModelConformance


class TestLenet(ModelConformance):
    name = "lenet"
