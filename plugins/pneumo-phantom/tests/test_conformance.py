"""The phantom passes the conformance suite of datasets."""

from pneumo_cli.testing import DatasetConformance


class TestPhantom(DatasetConformance):
    name = "phantom"
    reads = 4
