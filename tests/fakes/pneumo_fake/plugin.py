"""Registers three trainers, six models and six datasets."""

from pneumo_cli.api import DatasetSpec, ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="fake",
        summary="A classifier in no time",
        trainer="pneumo_fake.trainers:FakeTrainer",
        settings="pneumo_fake.settings:FakeSettings",
        kind="classifier",
        model="tiny-net",
        presets=(
            Preset(name="source", summary="As published"),
            Preset(name="quick", summary="One epoch", values={"epochs": 1, "lr": 0.02}),
        ),
    )
    yield TrainerSpec(
        name="duel",
        summary="Two networks and two optimizers in turn",
        trainer="pneumo_fake.trainers:DuelTrainer",
        settings="pneumo_fake.settings:DuelSettings",
        kind="pair",
        model="two-nets",
        presets=(Preset(name="source", summary="As published"),),
    )
    yield TrainerSpec(
        name="painter",
        summary="Makes images",
        trainer="pneumo_fake.painting:PainterTrainer",
        settings="pneumo_fake.settings:PainterSettings",
        kind="painter",
        model="painter-net",
        presets=(Preset(name="source", summary="As published"),),
    )


@hookimpl
def register_models():
    yield ModelSpec(
        name="tiny-net", kind="classifier", summary="One convolution", factory="pneumo_fake.models:tiny_net"
    )
    yield ModelSpec(
        name="plain-net",
        kind="classifier",
        summary="Neither BatchNorm nor dropout",
        factory="pneumo_fake.models:plain_net",
    )
    yield ModelSpec(
        name="pooled-net",
        kind="classifier",
        summary="BatchNorm on 1 x 1 maps",
        factory="pneumo_fake.models:pooled_net",
    )
    yield ModelSpec(
        name="two-nets", kind="pair", summary="Generator and critic", factory="pneumo_fake.models:TwoNets"
    )
    yield ModelSpec(
        name="painter-net", kind="painter", summary="Draws", factory="pneumo_fake.painting:Painter"
    )
    yield ModelSpec(
        name="copyist-net", kind="painter", summary="Draws nothing", factory="pneumo_fake.painting:Copyist"
    )


@hookimpl
def register_datasets():
    yield DatasetSpec(
        name="tiny", summary="Noise and discs", factory="pneumo_fake.data:open_tiny", synthetic=True
    )
    yield DatasetSpec(
        name="small",
        summary="Noise and discs, enough of them to compare sets of images",
        factory="pneumo_fake.data:open_small",
        synthetic=True,
    )
    yield DatasetSpec(
        name="seeded",
        summary="Noise and discs, the seed in a file",
        factory="pneumo_fake.data:open_seeded",
        needs_root=True,
        instructions="Write a number into seed.txt.",
    )
    yield DatasetSpec(
        name="torn", summary="Two of its images are damaged", factory="pneumo_fake.data:open_torn"
    )
    yield DatasetSpec(
        name="fake-three",
        summary="Three exclusive classes",
        factory="pneumo_fake.data:open_three",
        synthetic=True,
    )
    yield DatasetSpec(
        name="fake-labels",
        summary="Three labels, some of them unknown",
        factory="pneumo_fake.data:open_labels",
        synthetic=True,
    )
