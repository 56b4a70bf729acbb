"""The files of a new plugin package by kind, and what its author is told to do with them."""

SUMMARIES = {
    "trainer": "It trains a classifier of two classes, with two settings and a model of its own.",
    "model": "It is a small convolutional network, for every trainer of classifiers.",
    "dataset": "It reads class folders of images, with the patient in the name of each file.",
    "observer": "It writes the metrics of each epoch as a table.",
    "extension": "It adds noise to the training images of any trainer.",
    "command": "It counts runs by state.",
    "decoder": "It reads raw gray levels behind a header.",
}

_INSTALL = 'pip install -e ".[test]"'
_SMALL = "--epochs 2 --image-size 32"

STEPS = {
    "trainer": (_INSTALL, "pneumo check $name", f"pneumo run $name --dataset toy {_SMALL}"),
    "model": (
        _INSTALL,
        "pneumo check $name",
        f"pneumo run cnn --model $name --dataset toy {_SMALL}",
    ),
    "dataset": (
        _INSTALL,
        "python -m $package.sample sample",
        "pneumo check $name --data-root sample",
        f"pneumo run cnn --dataset $name --data-root sample {_SMALL} --batch-size 8",
    ),
    "observer": (
        _INSTALL,
        "pneumo check $name",
        f"pneumo run cnn --with $name --dataset toy {_SMALL}",
    ),
    "extension": (
        _INSTALL,
        "pneumo check $name",
        f"pneumo run cnn --with $name --dataset toy {_SMALL}",
    ),
    "command": (_INSTALL, "pneumo check $name", "pneumo $name ."),
    "decoder": (
        _INSTALL,
        "python -m $package.sample sample",
        "pneumo check $name --data-root sample",
        f"pneumo run cnn --dataset folder --data-root sample {_SMALL} --batch-size 8",
    ),
}
"""The commands that follow ``cd FOLDER``, as they are printed."""
