"""JPEG Lossless streams are decoded exactly, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import IMAGE, jpeg_lossless

from pneumo_dicom import jpeg_lossless as module
from pneumo_dicom.jpeg_lossless import decode_jpeg_lossless


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("strip", [0, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_values_are_decoded_exactly(bits: int, strip: int, predictor: int) -> None:
    noise = np.random.default_rng(1).integers(0, 2**bits, (31, 20)).astype(np.uint16)
    noise[0, :4] = [0, 2 ** (bits - 1), 0, 2**bits - 1]  # 32,768 has a category of its own
    assert np.array_equal(
        decode_jpeg_lossless(jpeg_lossless(noise, bits, predictor=predictor, strip=strip)), noise
    )


def test_codes_are_decoded_across_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 7)
    assert np.array_equal(decode_jpeg_lossless(jpeg_lossless(IMAGE, 8)), IMAGE)


@pytest.mark.parametrize("predictor", [0, 3, 7])
def test_another_predictor_is_refused(predictor: int) -> None:
    with pytest.raises(ValueError, match="predictor"):
        decode_jpeg_lossless(jpeg_lossless(IMAGE, 8, predictor=predictor))
