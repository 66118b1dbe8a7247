"""The fields of a recipe with a student and a teacher."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from vkd.config.training import FrozenNetwork, TrainingConfig
from vkd.errors import FieldError
from vkd.methods.catalogue import NO_METHOD, method_entry

Projection = Literal["orthogonal", "linear", "mlp", "identity"]
Normalization = Literal["layer_norm", "standardize", "whiten", "identity"]
Distance = Literal["smooth_l1", "l1", "mse"]


@dataclass(kw_only=True)
class DistillationConfig(TrainingConfig):
    """Fields of every task with a student and a teacher.

    Attributes:
        dataset: where the images come from.
        data_path: folder of the data, where they are not found by themselves.
        image_folder: folder of the pictures that a table or annotations name, where they are not
            below data_path.
        validation_fraction: share of the training images to validate with, where the data have
            no validation split.
        max_corrupt: pictures that cannot be read to skip before the run is ended.
        student: the network to train: NAME of `vkd models` or timm, timm/NAME, torchvision/NAME,
            hf/OWNER/NAME or hf/FOLDER of transformers, FILE.py:FUNCTION, or a run folder or weights
            file, which it starts from.
        student_checkpoint: weights for the student to start from, a file or run folder, or hub
            for the published ones; parts of other shapes, as heads for other classes, start anew.
        teacher: the network to learn from, named likewise; a run folder, weights file, hf/FOLDER or
            FILE.py:FUNCTION brings its weights. Empty to train alone.
        teacher_checkpoint: the teacher's weights or run folder; hub for the published ones.
        teacher_recipe: trains the teacher first when no teacher_checkpoint is given.
        teacher_precision: arithmetic of the teacher. auto takes that of mixed_precision; without
            it bfloat16, where the teacher runs in every step and a short measurement finds the
            device clearly faster with it, else float32.
        method: how the student is distilled; none to train alone.
        method_options: options of the method by name, for example {alpha: 2.0}.
        projection: map from the student's to the teacher's features.
        normalization: of the teacher's features.
        distance: between projected and normalised features.
        feature_weight: weight of the feature loss; 0 for none.
    """

    dataset: str = ""
    data_path: str = ""
    image_folder: str = ""
    validation_fraction: float = 0.1
    max_corrupt: int = 100
    student: str = ""
    student_checkpoint: str = ""
    teacher: str = ""
    teacher_checkpoint: str = ""
    teacher_recipe: str = ""
    teacher_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    method: str = "vkd"
    method_options: dict[str, Any] = field(default_factory=dict)
    projection: Projection = "orthogonal"
    normalization: Normalization = "layer_norm"
    distance: Distance = "smooth_l1"
    feature_weight: float = 0.0

    STARTS: ClassVar[tuple[str, ...]] = ("student_checkpoint",)
    # What the task's methods may compare.
    COMPARABLE: ClassVar[tuple[str, ...]] = ("features",)
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": (
            "dataset", "data_path", "image_folder", "validation_fraction", "max_corrupt",
        ),
        "student": ("student", "student_checkpoint"),
        "teacher": ("teacher", "teacher_checkpoint", "teacher_recipe", "teacher_precision"),
        "method": (
            "method", "method_options", "projection", "normalization", "distance",
            "feature_weight",
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "feature_weight", "max_corrupt")
        held_out = self.validation_fraction
        self.require("validation_fraction", 0 < held_out < 1, "above 0 and below 1")
        self._check_method()
        is_named = bool(self.student) or "student" in self.objects
        self.require("student", is_named, "a model's name")
        if self.needs_teacher and "teacher" not in self.objects:
            self.require("teacher", self.names_teacher, "a model's name when distilling")

    def _check_method(self) -> None:
        if self.method == NO_METHOD:
            if self.needs_teacher:
                raise FieldError("method", "none trains alone; the weights of losses must be 0.")
            return
        compares = method_entry(self.method).compares
        if compares not in self.COMPARABLE:
            raise FieldError(
                "method",
                f"{self.method} compares {compares}, which {self.task} does not offer; use one "
                f"that compares {' or '.join(self.COMPARABLE)}.",
            )
        if compares == "logits" and self.feature_weight:
            raise FieldError(
                "feature_weight", f"must be 0 with the method {self.method}, which compares logits."
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether a loss of the recipe compares with a teacher."""
        return self.feature_weight > 0

    @property
    def names_teacher(self) -> bool:
        """Whether the recipe names a teacher."""
        return bool(self.teacher)

    def method_values(self) -> dict[str, Any]:
        """Return the recipe's fields that methods may take as options."""
        return {
            "projection": self.projection,
            "normalization": self.normalization,
            "distance": self.distance,
        }

    def frozen_networks(self) -> list[FrozenNetwork]:
        """Return the teacher, if a loss needs it and no object takes its place."""
        return (
            [self.teacher_network()] if self.needs_teacher and "teacher" not in self.objects else []
        )

    def teacher_network(self) -> FrozenNetwork:
        """Return the teacher as a network that the run needs."""
        return FrozenNetwork(
            "teacher",
            self.teacher,
            self.teacher_checkpoint,
            self.teacher_recipe,
            self.shared_fields(),
        )

    def shared_fields(self) -> dict[str, Any]:
        """Return the fields of a frozen network's recipe that are those of the run."""
        return {
            "dataset": self.dataset,
            "data_path": self.data_path,
            "device": self.device,
            "deterministic": self.deterministic,
        }

    def model_names(self) -> dict[str, str]:
        """Return the names of student and teacher, where they are no objects."""
        names = {"student": self.student, "teacher": self.teacher}
        return {role: name for role, name in names.items() if name and role not in self.objects}


@dataclass(kw_only=True)
class LabelledImagesConfig(DistillationConfig):
    """Fields of every task whose images have one label each.

    Attributes:
        image_column: column of a table, or of a data set of Hugging Face, that holds the pictures
            or their paths; found by its name or type when empty.
        label_column: column that holds the labels; likewise.
        teacher_store: folder of `vkd cache`, whose outputs take the teacher's place.
    """

    image_column: str = ""
    label_column: str = ""
    teacher_store: str = ""

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {"data": ("image_column", "label_column")}

    def frozen_networks(self) -> list[FrozenNetwork]:
        """Return the teacher, if a loss needs it and neither store nor object takes its place."""
        return [] if self.teacher_store else super().frozen_networks()
