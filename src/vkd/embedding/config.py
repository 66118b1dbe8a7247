"""The fields of image embedding."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from vkd.config import FrozenNetwork
from vkd.data.catalogue import PHOTOGRAPHS, SMALL
from vkd.embedding.choice import TeacherChoice, chosen_teachers
from vkd.errors import FieldError
from vkd.images_config import ImagesConfig
from vkd.network_names import is_code, is_run, is_saved_folder
from vkd.ranges import LARGEST_SIDE

# The kind of the data is found by its files.
AUTO = "auto"
HUB = "hub"  # as ``vkd.models.factory`` has it, which imports torch


@dataclass(kw_only=True)
class EmbeddingConfig(ImagesConfig):
    """Fields of image embedding.

    Attributes:
        dataset: auto finds the kind of the data by its files; folder for a tree of pictures, with
            classes or without; wds for shards of WebDataset; hfds for parquet files or a name on
            the hub of Hugging Face; table for a CSV, TSV or Parquet file that names pictures, or a
            list of paths (.txt); digits; fashion-mnist; cifar100.
        data_path: folder (file or name) of the pictures, whose labels are not read.
        image_column: column of a table, or of a data set of Hugging Face, that holds the pictures
            or their paths; found by its name or type when empty.
        student_layer: the student's submodule whose output learns; empty for its embedding, or with
            dense for its last layer.
        teacher_layer: the teacher's submodule whose output is the target; empty likewise.
        teacher_size: side in pixels that a teacher with published weights is built for, where it
            takes one size only; 0 for its own.
        layers: several pairs in place of student_layer and teacher_layer, for example
            {blocks.3: layer2, blocks.5: layer4}, the student's first.
        layer_weights: weights of the student's layers in layers, for example {blocks.3: 0.5}; 1 for
            those that are left out.
        teachers: several teachers in place of teacher, for example [{name: resnet50, checkpoint:
            hub, layer: layer4, weight: 0.5}]; checkpoint, layer, layers and weight may be left out.
            Similarity is measured with the first.
        dense: compare the grids of layers place by place, not their means; grids of other sizes are
            resampled to the student's.
        probe_path: labelled pictures in train/CLASS and val/CLASS to measure the embedding with;
            digits and fashion-mnist have their own.
    """

    task: str = "embedding"
    dataset: str = AUTO
    image_column: str = ""
    feature_weight: float = 1.0
    student_layer: str = ""
    teacher_layer: str = ""
    teacher_size: int = 0
    layers: dict[str, str] = field(default_factory=dict)
    layer_weights: dict[str, float] = field(default_factory=dict)
    teachers: list[dict[str, Any]] = field(default_factory=list)
    dense: bool = False
    probe_path: str = ""

    MOST: ClassVar[dict[str, int]] = {"teacher_size": LARGEST_SIDE}
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("dataset", "data_path", "image_folder", "image_column", "probe_path"),
        "student": ("student", "student_layer"),
        "teacher": ("teacher", "teacher_layer", "teacher_size", "teachers"),
        "method": ("layers", "layer_weights", "dense"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "teacher_size")
        self.require_choice("dataset", [AUTO, *PHOTOGRAPHS, *SMALL])
        self.check_read()
        if self.has_labels:
            self.require_unread({"probe_path"}, f"dataset {self.dataset}, which has labels")
        if self.layers:
            self.require_unread({"student_layer", "teacher_layer"}, "layers")
        self._check_weights()
        if self.teachers:
            alone = {"teacher", "teacher_checkpoint", "teacher_recipe", "teacher_layer"}
            self.require_unread(alone, "teachers")
        for entry in self.chosen_teachers():
            if self.teachers and not (entry.checkpoint or _weights_of(entry.name)):
                raise FieldError(
                    "teachers", f"has no checkpoint of {entry.name}: a file, run folder or hub."
                )

    def _check_weights(self) -> None:
        for layer, weight in self.layer_weights.items():
            if layer not in self.layers:
                raise FieldError("layer_weights", f"names {layer!r}, which layers does not have.")
            if weight < 0:
                raise FieldError("layer_weights", f"must be at least 0, found {weight}.")

    @property
    def has_labels(self) -> bool:
        """Whether the data have labels of their own, which measure the embedding."""
        return self.dataset in SMALL and "data" not in self.objects

    @property
    def is_measured_by_labels(self) -> bool:
        """Whether the embedding is measured with labelled pictures."""
        return self.has_labels or bool(self.probe_path)

    @property
    def names_teacher(self) -> bool:
        """Whether the recipe names a teacher."""
        return bool(self.teacher or self.teachers)

    def chosen_teachers(self) -> list[TeacherChoice]:
        """Return the teachers, with their pairs of layers and weights; none where none is named."""
        return chosen_teachers(self)

    def frozen_networks(self) -> list[FrozenNetwork]:
        """Return the teachers, which also measure a student that learns nothing of them."""
        if "teacher" in self.objects or not self.names_teacher:
            return []
        if not self.teachers:
            return [self.teacher_network()]
        return [
            FrozenNetwork(entry.field, entry.name, entry.checkpoint or _weights_of(entry.name), "")
            for entry in self.chosen_teachers()
        ]

    def shared_fields(self) -> dict[str, Any]:
        """Return the fields of a teacher's recipe that are those of the run."""
        own = super().shared_fields()
        return own if self.dataset in SMALL else {"device": own["device"]}

    def model_names(self) -> dict[str, str]:
        """Return the names of student and teachers, where they are no objects."""
        names = {entry.field: entry.name for entry in self.chosen_teachers() if self.teachers}
        return super().model_names() | ({} if "teacher" in self.objects else names)


def _weights_of(name: str) -> str:
    """The weights that a network's name brings; empty for none."""
    if is_run(name):
        return name
    return HUB if is_code(name) or is_saved_folder(name) else ""
