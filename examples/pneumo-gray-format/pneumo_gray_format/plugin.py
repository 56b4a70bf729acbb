"""Registers the format ``gray``. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import DecoderSpec, hookimpl

api_version = 1


@hookimpl
def register_decoders() -> Iterable[DecoderSpec]:
    """Every dataset and every command that reads images then reads these, too."""
    yield DecoderSpec(
        name="gray",
        summary="Raw 8-bit gray levels behind a header of 12 bytes",
        suffixes=(".gray",),
        magic=(((0, b"GRAY"),),),
        decode="pneumo_gray_format.format:decode",
    )
