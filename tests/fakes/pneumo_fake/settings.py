"""Settings for images of 32 px and three epochs."""

from pydantic import Field

from pneumo_cli.settings import ClassificationSettings, GenerativeSettings, SplitPolicy, TrainerSettings


class FakeSettings(ClassificationSettings):
    dataset: str = Field("tiny", description="registered dataset to train on")
    epochs: int = Field(3, ge=1, le=1000, description="passes over the training images")
    image_size: int = Field(32, ge=8, le=64, description="height and width of the input, in pixels")
    batch_size: int = Field(8, ge=1, le=64, description="images per step")


class DuelSettings(TrainerSettings):
    dataset: str = Field("tiny", description="registered dataset to train on")
    epochs: int = Field(2, ge=1, le=1000, description="passes over the training images")
    image_size: int = Field(32, ge=8, le=64, description="height and width of the input, in pixels")
    batch_size: int = Field(8, ge=1, le=64, description="images per step")
    latent: int = Field(4, ge=1, le=64, description="length of the noise vector")


class PainterSettings(GenerativeSettings):
    dataset: str = Field("small", description="registered dataset to train on")
    epochs: int = Field(2, ge=1, le=1000, description="passes over the training images")
    image_size: int = Field(32, ge=8, le=64, description="height and width of the images, in pixels")
    batch_size: int = Field(16, ge=1, le=64, description="images per step")
    extractor: str = Field("pixels", description="what compares images")
    fidelity_images: int = Field(24, ge=0, le=1000, description="images to measure the fidelity of")
    split: SplitPolicy = Field("patient", description="how the training pool is divided")
