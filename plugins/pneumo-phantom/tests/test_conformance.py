"""What every dataset does, asked of the phantom."""

from pneumo_cli.testing import DatasetConformance


class TestPhantom(DatasetConformance):
    name = "phantom"
    reads = 6
