"""Image embedding as it is registered."""

from collections import ChainMap
from dataclasses import dataclass
from typing import Literal

from vkd.data.catalogue import PHOTOGRAPHS, SMALL
from vkd.embedding.config import EmbeddingConfig
from vkd.errors import FieldError
from vkd.ranges import MOST_AT_ONCE, require_range
from vkd.training.drafting import Drafting
from vkd.training.spec import Metric, TaskSpec

_MOST_NEIGHBOURS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class EmbeddingEvaluation:
    """Options of an evaluation.

    Attributes:
        probe_path: labelled pictures in train/CLASS and val/CLASS, in place of the recipe's.
        teacher_checkpoint: the teacher's weights, where they lie elsewhere than in training.
    """

    probe_path: str = ""
    teacher_checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class EmbeddingPrediction:
    """Options of a prediction.

    Attributes:
        output: new file for the embeddings: .npy, with the names in a
            .names.json beside it, or .parquet.
        batch_size: images that are embedded at once.
    """

    output: str = ""
    batch_size: int = 32

    def __post_init__(self) -> None:
        require_range("batch_size", self.batch_size, 1, MOST_AT_ONCE)


@dataclass(frozen=True, kw_only=True)
class EmbeddingSearch:
    """Options of a search.

    Attributes:
        index: what is searched: a folder of pictures, a pattern, or a file of embeddings (.npy,
            .parquet) that `vkd predict` wrote.
        count: nearest pictures of each query; 5 by default.
        index_by: whose embeddings the index holds, student by default. With teacher the student's
            queries pass its projection.
        fold: shrink an index of the teacher's to the student's width by the projection's transpose.
        save_index: new file (.npy, .parquet) for the index's embeddings as they are searched, which
            index takes later. A folded index is then searched as the student's own.
        teacher_checkpoint: the teacher's weights, where they lie elsewhere than in training.
        batch_size: pictures that are embedded at once.

    Raises:
        FieldError: for values that are none of these.
    """

    index: str = ""
    count: int = 5
    index_by: Literal["student", "teacher"] = "student"
    fold: bool = False
    save_index: str = ""
    teacher_checkpoint: str = ""
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.index:
            raise FieldError("index", "is required: a folder of pictures or a file of embeddings.")
        if self.index_by not in ("student", "teacher"):
            raise FieldError("index_by", f"must be student or teacher, found {self.index_by!r}.")
        require_range("count", self.count, 1, _MOST_NEIGHBOURS)
        require_range("batch_size", self.batch_size, 1, MOST_AT_ONCE)
        if self.fold and self.index_by != "teacher":
            raise FieldError("fold", "has no effect unless index_by (--index-by) is teacher.")
        if self.teacher_checkpoint and self.index_by != "teacher":
            raise FieldError(
                "teacher_checkpoint", "has no effect unless index_by (--index-by) is teacher."
            )


def _metric(config: EmbeddingConfig) -> Metric:
    """Labelled pictures say more of an embedding than its teacher does."""
    return Metric("knn", "%") if config.is_measured_by_labels else Metric("cka")


EMBEDDING = TaskSpec(
    name="embedding",
    config=EmbeddingConfig,
    task="vkd.embedding.task:EmbeddingTask",
    evaluate="vkd.embedding.inference:evaluate",
    predict="vkd.embedding.inference:predict",
    network="vkd.embedding.embedder:student_of",
    pipeline_tag="image-feature-extraction",
    search="vkd.embedding.search:search",
    export="vkd.embedding.inference:export_inputs",
    pictures="vkd.embedding.data:open_samples",
    no_cache="several of them, or grids of features, do not fit a store of one row an image",
    datasets=ChainMap(PHOTOGRAPHS, SMALL),
    describe="vkd.embedding.description:describe",
    check="vkd.embedding.distillation:check_method",
    metric=_metric,
    draft=Drafting(
        choices="vkd.embedding.draft:draft",
        teacher="vit_base_patch14_reg4_dinov2.lvd142m",
        student="mobilenetv4_conv_small.e2400_r224_in1k",
    ),
    evaluate_options=EmbeddingEvaluation,
    predict_options=EmbeddingPrediction,
    search_options=EmbeddingSearch,
)
