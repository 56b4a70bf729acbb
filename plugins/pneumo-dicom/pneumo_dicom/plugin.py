"""The plugin ``dicom``: a decoder of DICOM files."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import DecoderSpec, hookimpl

api_version = 1


@hookimpl
def register_decoders() -> Iterable[DecoderSpec]:
    """DICOM, with a preamble (PS3.10 7.1) or, as old archives wrote it, without one."""
    yield DecoderSpec(
        name="dicom",
        summary="DICOM radiographs: computed, digital and film, with the gray levels that a viewer shows",
        suffixes=(".dcm", ".dicom"),
        magic=(
            ((128, b"DICM"),),
            # The first element of a data set, in group 0002 (file meta information) or 0008 (identification).
            ((0, b"\x02\0"), (3, b"\0")),
            ((0, b"\x08\0"), (3, b"\0")),
        ),
        decode="pneumo_dicom.dicom:decode_dicom",
        recognize="pneumo_dicom.recognition:is_dicom",
        body_part="pneumo_dicom.dicom:other_part",
        largest_value="pneumo_dicom.dicom:largest_value",
    )
