"""The fields of image generation."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from vkd.config import (
    LARGEST_SEED,
    DistillationConfig,
    FrozenNetwork,
    LabelledImagesConfig,
    Normalization,
)
from vkd.data.catalogue import PHOTOGRAPHS, SMALL, unread_fields

INCEPTION = "inception"
CIFAR = ("cifar10", "cifar100")


@dataclass(kw_only=True)
class GenerationConfig(LabelledImagesConfig):
    """Fields of image generation.

    Attributes:
        dataset: digits; fashion-mnist; cifar10 or cifar100, which torchvision downloads; folder,
            wds, hfds and table as in classification.
        fraction: share of the training images to train on.
        subset_seed: of the choice of these.
        student: the generator; the discriminator, which is distilled, comes with it.
        channels: a quarter of the width of both.
        noise_dim: numbers that an image is generated from.
        generator_every: updates of the discriminator for one of the generator.
        diff_augment: augment all that the discriminator sees, differentiably; not with a store,
            whose images are the same in every epoch.
        flip: mirror half of the training images.
        teacher: name of the frozen vision network; empty for a GAN alone.
        teacher_layer: the teacher's submodule whose output is the target; empty for its last.
        teacher_pool: layout of its output.
        projection: map from the discriminator's to the teacher's features.
        whitening: statistics of whitening: of each batch, as in the paper; of the data once, which
            batches smaller than the number of features need; or shrunk, of the data with their
            covariance shrunk as Ledoit and Wolf do, so that directions without variance, which
            nobody can learn, do not count as much as others.
        extractor: network whose features the metrics compare; inception for FID as others
            report it.
        extractor_checkpoint: its weights or run folder.
        extractor_recipe: trains the extractor first when no extractor_checkpoint is given.
        samples: generated images that the metrics compare.
    """

    task: str = "generation"
    dataset: str = "digits"
    fraction: float = 1.0
    subset_seed: int = 0
    student: str = "biggan"
    channels: int = 96
    noise_dim: int = 128
    generator_every: int = 1
    diff_augment: bool = True
    flip: bool = False
    teacher_layer: str = ""
    teacher_pool: Literal["auto", "NCHW", "NHWC", "NLC", "token"] = "auto"
    normalization: Normalization = "whiten"
    whitening: Literal["batch", "data", "shrunk"] = "batch"
    extractor: str = INCEPTION
    extractor_checkpoint: str = ""
    extractor_recipe: str = ""
    samples: int = 10000

    MOST: ClassVar[dict[str, int]] = {
        "subset_seed": LARGEST_SEED, "channels": 4096, "noise_dim": 65_536, "samples": 10_000_000,
    }  # fmt: skip
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("dataset", "data_path", "fraction", "subset_seed", "flip"),
        "student": ("student", "channels", "noise_dim", "generator_every", "diff_augment"),
        "teacher": (
            "teacher", "teacher_layer", "teacher_pool", "teacher_checkpoint", "teacher_recipe",
            "teacher_store", "teacher_precision",
        ),
        "method": (
            "method", "method_options", "projection", "normalization", "whitening", "distance",
            "feature_weight",
        ),
        "metrics": ("extractor", "extractor_checkpoint", "extractor_recipe", "samples"),
    }  # fmt: skip
    FORMER: ClassVar[dict[str, str]] = DistillationConfig.FORMER | {"model": "student"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "channels", "noise_dim", "generator_every")
        self.require("channels", self.channels % 2 == 0, "even")
        self.require_at_least(100, "samples")
        self.require_seed("subset_seed")
        self.require("fraction", 0 < self.fraction <= 1, "above 0 and at most 1")
        if self.feature_weight:
            self.require("batch_size", self.batch_size >= 2, "at least 2 when distilling")
        if self.teacher_store:
            is_plain = not self.diff_augment
            self.require("diff_augment", is_plain, "false with a store, which holds no such images")
        if self.extractor == INCEPTION:
            self.require_unread({"extractor_checkpoint", "extractor_recipe"}, "extractor inception")
        else:
            given = self.extractor_checkpoint or self.extractor_recipe
            self.require("extractor_checkpoint", bool(given), "given with a local extractor")
        self.require_choice("dataset", [*SMALL, *CIFAR, *PHOTOGRAPHS])
        is_given = "data" in self.objects
        reader = "data given as an object" if is_given else f"dataset {self.dataset}"
        # torchvision's CIFAR is read whole here, though classification reads one as photographs.
        is_whole = is_given or self.dataset in CIFAR
        self.require_unread(set(unread_fields("" if is_whole else self.dataset)), reader)
        if self.dataset in SMALL and not SMALL[self.dataset].needs_path:
            self.require_unread({"data_path"}, f"dataset {self.dataset}")

    def frozen_networks(self) -> list[FrozenNetwork]:
        """Return the teacher, and the extractor if it has a recipe."""
        networks = super().frozen_networks()
        if self.extractor != INCEPTION:
            # The teacher may have the same recipe; its twin would be a judge in its own cause.
            networks.append(
                FrozenNetwork(
                    "extractor",
                    self.extractor,
                    self.extractor_checkpoint,
                    self.extractor_recipe,
                    self.shared_fields() | {"seed": 1},
                )
            )
        return networks

    def model_names(self) -> dict[str, str]:
        """Return the names of generator, teacher and extractor."""
        local = {"extractor": self.extractor} if self.extractor != INCEPTION else {}
        return super().model_names() | local
