"""The tests that every decoder of an image format has to pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumo_cli.errors import UnreadableImage
from pneumo_cli.plugins.discovery import Plugin, Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.specs import MAGIC_BYTES, DecoderSpec, load_reference
from pneumo_cli.testing.contract import ContractBroken, ensure, keeping
from pneumo_cli.testing.suite import Conformance

_MANY = 100_000_000


class DecoderConformance(Conformance):
    """The tests that every decoder has to pass; those about images need some files of the format::

        class TestGray(DecoderConformance):
            name = "gray"

            @pytest.fixture
            def files(self):
                return {"a disc": encode(disc)}

    Attributes:
        name: the registered name, or ``distribution:name``.
    """

    name: ClassVar[str]

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[Any]:
        """The decoder under test."""
        decoders: list[tuple[Any, Plugin]] = [*plugins.decoders]
        found = [
            Entry(spec, plugin.provenance)
            for spec, plugin in decoders
            if self.name in (spec.name, f"{plugin.provenance.distribution}:{spec.name}")
        ]
        known = "register_decoders yields it"
        ensure(found, f"the decoder {self.name} is registered", "it is not", known)
        return found[0]

    @pytest.fixture
    def data_root(self) -> Path | None:
        """A folder with files of the format; None: there is none."""
        return None

    @pytest.fixture
    def files(self, entry: Entry[Any], data_root: Path | None) -> Mapping[str, bytes]:
        """Contents of intact files of the format, by name."""
        found = sorted(data_root.rglob("*")) if data_root is not None else []
        return {str(path): path.read_bytes() for path in found if path.suffix.lower() in entry.spec.suffixes}

    def test_its_files_are_recognized_by_their_content(
        self, entry: Entry[Any], files: Mapping[str, bytes]
    ) -> None:
        for name, data in self._some(files).items():
            known = entry.spec.begins(data[:MAGIC_BYTES])
            if known and entry.spec.recognize:
                known = load_reference(entry.spec.recognize)(data)
            ensure(
                known,
                "a file of the format begins with its magic bytes",
                f"{name} begins with {data[:16]!r}",
                "correct DecoderSpec.magic, pairs of (offset, bytes), or recognize",
            )

    def test_an_image_is_uint8_gray_levels_and_the_same_each_time(
        self, entry: Entry[Any], files: Mapping[str, bytes]
    ) -> None:
        rule = "decode(data, max_pixels) returns uint8 gray levels [H, W]"
        mend = "scale to 0 dark to 255 bright, as a viewer shows them, and drop further axes"
        for name, data in self._some(files).items():
            with keeping(rule, mend):
                image, again = (self._decoded(entry, data) for _ in range(2))
            right = (
                isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 2 and image.size
            )
            shown = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image)
            ensure(right, rule, f"{name} gives {shown}", mend)
            ensure(
                np.array_equal(image, again), "an image is decoded the same each time", name, "keep no state"
            )

    def test_large_images_are_refused_before_they_are_decoded(
        self, entry: Entry[Any], files: Mapping[str, bytes]
    ) -> None:
        rule = "decode raises UnreadableImage for more than max_pixels pixels"
        for name, data in self._some(files).items():
            try:
                self._decoded(entry, data, max_pixels=1)
            except UnreadableImage:
                continue
            except Exception as error:
                raise ContractBroken(
                    rule, f"{name}: {type(error).__name__}: {error}", "check the header"
                ) from error
            ensure(
                False, rule, f"{name} is decoded with max_pixels = 1", "compare width * height of the header"
            )

    def test_damaged_files_are_unreadable(self, entry: Entry[Any], files: Mapping[str, bytes]) -> None:
        damaged = {"the magic bytes alone": _magic(entry.spec)}
        for name, data in list(files.items())[:2]:
            for length in sorted({len(data) * part // 8 for part in range(1, 8)}):
                damaged[f"the first {length} bytes of {name}"] = data[:length]
            noise = np.random.default_rng(0).integers(0, 256, len(data), np.uint8).tobytes()
            kept = len(_magic(entry.spec))
            damaged[f"{name} with noise after its magic bytes"] = data[:kept] + noise[kept:]
        for name, data in damaged.items():
            # An image is no harm: some formats can be read in part. Any Exception counts as damaged.
            try:
                image = self._decoded(entry, data)
            except Exception:  # noqa: S112
                continue
            ensure(
                isinstance(image, np.ndarray) and image.ndim == 2 and image.size and image.dtype == np.uint8,
                "a damaged file is an error, or an image",
                f"{name} gives {type(image).__name__}",
                "raise UnreadableImage with a short reason",
            )

    def _some(self, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        if not files:
            pytest.skip(
                f"no file of the format: override the fixture files, or name a folder for {self.name}"
            )
        return dict(list(files.items())[:8])

    def _decoded(self, entry: Entry[Any], data: bytes, max_pixels: int = _MANY) -> NDArray[np.uint8]:
        spec: DecoderSpec = entry.spec
        options = {"bits": 16} if spec.largest_value else {}
        image: NDArray[np.uint8] = load_reference(spec.decode)(data, max_pixels, **options)
        return image


def _magic(spec: DecoderSpec) -> bytes:
    """The beginning of a file that matches the first alternative of a format's magic bytes."""
    start = bytearray()
    for offset, magic in spec.magic[0] if spec.magic else ():
        start.extend(bytes(max(0, offset + len(magic) - len(start))))
        start[offset : offset + len(magic)] = magic
    return bytes(start)
