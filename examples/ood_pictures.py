"""Out-of-distribution (OOD) images for :mod:`measure_ood`: the ones on which the OOD detector was developed.

They are generated (noise, geometry, text) or come with installed packages; images of missing packages are left out.
The detector's threshold was chosen with them in view, so their detection rate is optimistic:
:mod:`fresh_pictures` has others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Gray = NDArray[np.uint8]

PHOTOGRAPHS = (
    *(
        "astronaut",
        "brick",
        "camera",
        "chelsea",
        "clock_motion",
        "coffee",
        "coins",
        "color",
        "grass",
        "gravel",
    ),
    *("horse", "hubble_deep_field", "logo", "moon", "motorcycle_left", "page", "rocket", "text"),
)
MICROSCOPY = ("cell", "ihc", "microaneurysms", "retina")
CROPS = 8


@dataclass(frozen=True)
class Picture:
    """One image in one or several views: crops of a photograph, slices of a volume."""

    name: str
    views: tuple[Gray, ...]


def photographs(rng: np.random.Generator) -> Iterator[Picture]:
    """Photographs, each whole and as random square crops."""
    files: list[Path] = []
    sample = Path(mpl.get_data_path()) / "sample_data"
    files += [sample / "grace_hopper.jpg", sample / "Minduka_Present_Blue_Pack.png"]
    if (folder := package("sklearn")) is not None:
        files += sorted((folder / "datasets" / "images").glob("*.jpg"))
    if (folder := package("skimage")) is not None:
        files += [file for name in PHOTOGRAPHS for file in (folder / "data").glob(f"{name}.*")]
    for file in files:
        image = read_gray(file)
        yield Picture(file.stem, (image, *(square(image, rng) for _ in range(CROPS))))


def square(image: Gray, rng: np.random.Generator) -> Gray:
    """A random square crop; its side is between half of the shorter side and all of it."""
    side = int(rng.integers(min(image.shape) // 2, min(image.shape) + 1))
    row, column = (int(rng.integers(0, length - side + 1)) for length in image.shape)
    return image[row : row + side, column : column + side]


def noise(rng: np.random.Generator) -> Iterator[Picture]:
    """Uniform, Gaussian, salt-and-pepper and coloured noise."""
    side = 256
    for number in range(10):
        yield Picture(f"uniform {number}", (rng.integers(0, 256, (side, side), dtype=np.uint8),))
        grain = rng.normal(rng.uniform(60, 190), rng.uniform(5, 60), (side, side))
        yield Picture(f"Gaussian {number}", (to_gray(grain),))
        yield Picture(f"salt and pepper {number}", (255 * rng.integers(0, 2, (side, side), dtype=np.uint8),))
        for exponent in (1.0, 1.5, 2.0, 2.5):
            yield Picture(f"1/f^{exponent} {number}", (coloured(side, exponent, rng),))


def coloured(side: int, exponent: float, rng: np.random.Generator) -> Gray:
    """1/f^exponent noise with the brightness and contrast of a radiograph."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) / frequency**exponent, s=(side, side))
    return to_gray(rng.uniform(90, 160) + rng.uniform(30, 70) * (field - field.mean()) / field.std())


def drawings(rng: np.random.Generator) -> Iterator[Picture]:
    """Constant gray, gradients, stripes, checkerboards, 2-D codes, ellipses, pages of text."""
    side = 256
    y, x = np.mgrid[:side, :side] / side
    for level in (0, 32, 64, 96, 128, 160, 192, 224, 255):
        yield Picture(f"constant {level}", (np.full((side, side), level, np.uint8),))
    for number in range(8):
        angle = number * np.pi / 4
        slope = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
        yield Picture(f"gradient {number}", (to_gray(127 + 180 * slope),))
        centre = rng.uniform(0.3, 0.7, 2)
        yield Picture(f"glow {number}", (to_gray(255 - 400 * np.hypot(x - centre[0], y - centre[1])),))
        waves = np.sin(2 * np.pi * (x * rng.uniform(1, 12) + y * rng.uniform(1, 12)))
        yield Picture(f"stripes {number}", (to_gray(127 + 100 * waves),))
        cells = int(rng.integers(2, 12))
        board = (np.floor(x * cells) + np.floor(y * cells)) % 2
        yield Picture(f"board {cells}", (to_gray(40 + 180 * board),))
        code = rng.integers(0, 2, (29, 29), dtype=np.uint8) * 255
        yield Picture(f"code {number}", (np.kron(code, np.ones((9, 9), np.uint8)),))
        page = Image.new("L", (side, side), 255)
        pen = ImageDraw.Draw(page)
        words = "".join(rng.choice(list("abcdefghi jklmnop qrstu vwxyz "), 60 * 24))
        text = "\n".join(words[60 * line : 60 * line + 60] for line in range(24))
        pen.text((6, 6), text, fill=0, font=ImageFont.load_default(6 + number))
        yield Picture(f"page {number}", (np.asarray(page),))
        shapes = Image.new("L", (side, side), int(rng.integers(0, 256)))
        pen = ImageDraw.Draw(shapes)
        for _ in range(int(rng.integers(1, 6))):
            a, b, wide, high = (int(value) for value in rng.integers(10, 150, 4))
            pen.ellipse((a, b, a + wide, b + high), fill=int(rng.integers(0, 256)))
        yield Picture(f"ellipses {number}", (np.asarray(shapes),))


def medical() -> Iterator[Picture]:
    """Microscopy, fundus, MRI, CT and ultrasound from the sample data of packages."""
    import matplotlib.cbook

    with matplotlib.cbook.get_sample_data("s1045.ima.gz") as file:
        head = np.frombuffer(file.read(), np.uint16).reshape(256, 256)
    yield Picture("s1045 (MRI, matplotlib)", (rescaled(head),))
    if (folder := package("skimage")) is not None:
        for name in MICROSCOPY:
            for path in (folder / "data").glob(f"{name}.*"):
                yield Picture(f"{name} (scikit-image)", (read_gray(path),))
    yield from volumes()
    yield from dicom()


def volumes() -> Iterator[Picture]:
    """Slices of brain volumes along the three axes, the middle one first."""
    if find_spec("nibabel") is None:
        return
    import nibabel

    files: list[Path] = []
    if (folder := package("nilearn")) is not None:
        files += sorted((folder / "datasets" / "data").glob("mni*.nii.gz"))
    if (folder := package("nibabel")) is not None:
        files += sorted((folder / "tests" / "data").glob("anatomical.nii"))
    for file in files:
        volume = np.asarray(nibabel.load(file).dataobj, np.float64)
        for axis in range(3):
            depth = volume.shape[axis]
            positions = [depth // 2, *np.linspace(0.3, 0.7, 5) * depth]
            slices = [np.rot90(np.take(volume, int(position), axis)) for position in positions]
            yield Picture(f"{file.stem}, axis {axis}", tuple(rescaled(values) for values in slices))


def dicom() -> Iterator[Picture]:
    """One image of each patient and modality other than chest radiographs, in pydicom's test files."""
    if find_spec("pydicom") is None:
        return
    import pydicom

    files: list[Path] = []
    if (folder := package("pydicom")) is not None:
        files += sorted((folder / "data" / "test_files").glob("*.dcm"))
    if (folder := package("data_store")) is not None:
        files += sorted((folder / "data").glob("*.dcm"))
    seen = set()
    for file in files:
        try:
            data = pydicom.dcmread(file)
            pixels = np.asarray(data.pixel_array, np.float64)
        except Exception as error:  # deliberately damaged files, or a codec that is not installed
            print(f"{file.name}: left out: {str(error).splitlines()[0][:80]}", file=sys.stderr)
            continue
        samples, frames = int(data.get("SamplesPerPixel", 1)), int(data.get("NumberOfFrames", 1) or 1)
        pixels = pixels[0] if frames > 1 else pixels
        pixels = pixels.mean(-1) if samples > 1 else pixels
        modality = str(data.get("Modality", "?"))
        key = (modality, str(data.get("PatientID", "")), pixels.shape)
        if key in seen or min(pixels.shape) < 32 or modality in ("CR", "DX", "RG"):
            continue
        seen.add(key)
        yield Picture(f"{file.name} ({modality}, pydicom)", (rescaled(pixels),))


def package(name: str) -> Path | None:
    """The folder of an installed package."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def read_gray(path: Path) -> Gray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def rescaled(values: NDArray[np.generic]) -> Gray:
    """Rescale values so that their 1st and 99th percentiles are 0 and 255."""
    low, high = np.percentile(values, (1, 99))
    return to_gray((values - low) / max(high - low, 1e-9) * 255)


def to_gray(values: NDArray[np.float64]) -> Gray:
    return values.round().clip(0, 255).astype(np.uint8)
