"""Small archives with exactly the folders, tables and columns of the public ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from image_trees import write, write_table

NIH_COLUMNS = (
    "Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position",
    "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]", "",
)  # fmt: skip

CHEXPERT_COLUMNS = (
    "Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly",
    "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax",
    "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip

VINDR_LABELS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation",
    "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst",
    "Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis",
    "Other diseases", "No finding",
)  # fmt: skip

DICOM = bytes(128) + b"DICM"


def nih(root: Path, patients: int = 80) -> Path:
    """NIH ChestX-ray14: two images per patient, in two of the parts that it is unpacked to."""
    from pneumo_datasets.archives import NIH_LABELS

    rows: list[tuple[object, ...]] = [NIH_COLUMNS]
    lists: dict[str, list[str]] = {"train_val_list.txt": [], "test_list.txt": []}
    for patient in range(1, patients + 1):
        for follow in range(2):
            name = f"{patient:08}_{follow:03}.png"
            findings = [NIH_LABELS[patient % 14], NIH_LABELS[(patient + 5) % 14]][: follow + 1]
            text = "|".join(findings) if patient % 3 else "No Finding"
            write(root / f"images_00{1 + follow}" / "images", [name])
            view = "PA" if patient % 2 else "AP"
            rows.append((name, text, follow, patient, "058", "M", view, 2682, 2749, 0.143, 0.143, ""))
            lists["test_list.txt" if patient % 4 == 0 else "train_val_list.txt"].append(name)
    write_table(root / "Data_Entry_2017_v2020.csv", rows)
    write_table(root / "BBox_List_2017.csv", [("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")])
    for name, names in lists.items():
        (root / name).write_text("\r\n".join(names) + "\r\n")
    return root


def chexpert(root: Path, patients: int = 60) -> Path:
    """CheXpert: a frontal and a lateral image per patient, with certain, uncertain and empty labels."""
    rng = np.random.default_rng(0)
    for part, first, number in (("train", 1, patients), ("valid", 64541, 10)):
        rows: list[tuple[object, ...]] = [CHEXPERT_COLUMNS]
        for patient in range(first, first + number):
            for view, plane in ((1, "frontal"), (2, "lateral")):
                path = f"{part}/patient{patient:05}/study1/view{view}_{plane}.jpg"
                target = root / "CheXpert-v1.0-small" / path
                write(target.parent, [target.name])
                target.write_bytes(target.read_bytes() + path.encode())
                values = rng.choice(["1.0", "0.0", "-1.0", ""] if part == "train" else ["1.0", "0.0"], 14)
                projection = ("AP" if patient % 2 else "PA") if view == 1 else ""
                rows.append(
                    (f"CheXpert-v1.0-small/{path}", "Female", 68, plane.title(), projection, *values.tolist())
                )
        write_table(root / "CheXpert-v1.0-small" / f"{part}.csv", rows)
    return root


def rsna(root: Path, patients: int = 30) -> Path:
    """RSNA's challenge: a row per box; DICOM files, also without labels."""
    boxes: list[tuple[object, ...]] = [("patientId", "x", "y", "width", "height", "Target")]
    classes: list[tuple[object, ...]] = [("patientId", "class")]
    for number in range(patients):
        patient = f"0004cfab-14fd-4e49-80ba-{number:012}"
        found = number % 3 == 0
        title = "Lung Opacity" if found else ("Normal", "No Lung Opacity / Not Normal")[number % 2]
        for box in range(1 + found * (number % 2)):
            boxes.append(
                (patient, 264.0 + box, 152.0, 213.0, 379.0, 1) if found else (patient, "", "", "", "", 0)
            )
            classes.append((patient, title))
        write(root / "stage_2_train_images", [f"{patient}.dcm"])
    for number in range(4):
        write(root / "stage_2_test_images", [f"0000a175-0e68-4ca4-b1af-{number:012}.dcm"])
    write_table(root / "stage_2_train_labels.csv", boxes)
    write_table(root / "stage_2_detailed_class_info.csv", classes)
    write_table(root / "stage_2_sample_submission.csv", [("patientId", "PredictionString")])
    return root


def vindr(root: Path, images: int = 56) -> Path:
    """VinDr-CXR of PhysioNet: three radiologists' rows per training image, one per test image."""
    train: list[tuple[object, ...]] = [("image_id", "rad_id", *VINDR_LABELS)]
    test: list[tuple[object, ...]] = [
        ("image_id", *(title.replace("diseases", "disease") for title in VINDR_LABELS))
    ]
    for number in range(images):
        for part in ("train", "test"):
            image = f"{number + 1000 * (part == 'test'):032x}"
            write(root / part, [f"{image}.dicom"])
            marks = [int(number % 28 == place) for place in range(28)]
            if part == "test":
                test.append((image, *marks))
                continue
            for radiologist in range(3):  # the third one sees nothing; in image 0 two see nothing
                seen = radiologist < (1 if number == 0 else 2)
                train.append((image, f"R{8 + radiologist}", *(mark * seen for mark in marks)))
    write_table(root / "annotations" / "image_labels_train.csv", train)
    write_table(root / "annotations" / "image_labels_test.csv", test)
    write_table(root / "annotations" / "annotations_train.csv", [("image_id", "rad_id", "class_name")])
    return root


def vindr_of_kaggle(root: Path, images: int = 40) -> Path:
    """VinDr-CXR of Kaggle: a row per box and radiologist; test images without labels."""
    rows: list[tuple[object, ...]] = [
        ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")
    ]
    for number in range(images):
        image = f"{number:032x}"
        write(root / "train", [f"{image}.dicom"])
        for radiologist in range(3):
            if number % 4 == 0 or radiologist == 2:
                rows.append((image, "No finding", 14, f"R{radiologist}", "", "", "", ""))
            else:
                title = ("Cardiomegaly", "Nodule/Mass")[number % 2]
                rows += [
                    (image, title, 3, f"R{radiologist}", 691, 1375 + box, 1653, 1831) for box in range(2)
                ]
    write(root / "test", [f"{number + 5000:032x}.dicom" for number in range(3)])
    write_table(root / "train.csv", rows)
    write_table(root / "sample_submission.csv", [("image_id", "PredictionString")])
    return root


def covid(root: Path) -> Path:
    """COVID-19 Radiography: images and masks of four classes, and a table for each."""
    top = root / "COVID-19_Radiography_Dataset"
    for title in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        for number in range(1, 11):
            write(top / title / "images", [f"{title}-{number}.png"])
            write(top / title / "masks", [f"{title}-{number}.png"])
        (top / f"{title}.metadata.xlsx").write_bytes(b"PK")
    (top / "README.md.txt").write_text("COVID-19 CHEST X-RAY DATABASE")
    return root


def mnist(path: Path, labels: int, side: int = 28, images: int = 60) -> Path:
    """A file of MedMNIST, compressed as the published ones."""
    rng = np.random.default_rng(side)
    arrays = {}
    for split, number in (("train", images), ("val", images // 3), ("test", images // 2)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (number, side, side), np.uint8)
        marks = np.arange(number * labels).reshape(number, labels) % 3 == 0
        arrays[f"{split}_labels"] = marks.astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path
