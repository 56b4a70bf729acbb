"""The model behaves as every pneumo model does."""

from __future__ import annotations

from pneumo_cli.testing import ModelConformance


class TestLenet(ModelConformance):
    name = "lenet"
