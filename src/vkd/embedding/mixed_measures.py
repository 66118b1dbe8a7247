"""How well a student and its teacher find each other's pictures."""

from torch import Tensor

from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.measures import RECALLS, LabelledRows
from vkd.embedding.mixed import folded, projected
from vkd.embedding.projections import is_orthogonal
from vkd.embedding.quality import retrieval_recall
from vkd.methods.build import method_class
from vkd.normalization import NORMALIZATIONS
from vkd.notes import say

# Options of methods by which more than the projection lies between student and teacher.
_MORE_THAN_A_MAP = ("both_sides", "standardize_student")


def leads_to_teacher(config: EmbeddingConfig) -> bool:
    """Return whether a run's projection leads from the student's embedding to the features that its
    teacher is measured by, normalised as the recipe says."""
    if "loss" in config.objects or "normalization" not in method_class(config.method).recipe_fields:
        return False
    if any(config.method_options.get(name) for name in _MORE_THAN_A_MAP):
        return False
    layers = config.chosen_teachers()[0].layers
    # Of several layers the teacher is measured by none, but by its own embedding.
    return len(layers) == 1 or layers.get("") == ""


def mixed_measures(
    config: EmbeddingConfig, student: LabelledRows, teacher: LabelledRows, matrix: Tensor
) -> dict[str, float]:
    """Return recall of an index by the teacher that is searched with the student, in %.

    ``mixed_recall`` searches the teacher's features, normalised as in training, with projected
    embeddings; ``folded_recall`` searches the same index, folded to the student's width by an
    orthogonal projection's transpose, with the embeddings themselves.

    Args:
        config: the recipe.
        student, teacher: their embeddings of the same labelled pictures.
        matrix: (teacher_dim, student_dim), see ``vkd.embedding.projections.saved_matrix``.
    """
    index = teacher.index
    if not leads_to_teacher(config):
        return {}
    if matrix.shape[0] != index.features.shape[1]:
        say(
            "mixed retrieval",
            [
                f"left out, as the projection is of {matrix.shape[0]} features and the teacher has "
                f"{index.features.shape[1]}"
            ],
        )
        return {}
    features = NORMALIZATIONS[config.normalization](index.features)
    queries = student.queries
    sides = {"mixed": (features, projected(queries.features, matrix))}
    if is_orthogonal(matrix):
        sides["folded"] = (folded(features, matrix), queries.features)
    return {
        f"{kind}_recall_{k}": value
        for kind, (rows, asked) in sides.items()
        for k, value in retrieval_recall(
            rows, index.labels, asked, queries.labels, ks=RECALLS
        ).items()
    }
