"""The projection that lies beside a student's weights."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vkd.errors import UserError, shortened
from vkd.models.checkpoints import Checkpoint
from vkd.notes import say

FILE = "projection"
_TOLERANCE = 1e-3


def saved_matrix(checkpoint: Checkpoint, width: int) -> Tensor | None:
    """Return the matrix (teacher_dim, width) that maps embeddings to the teacher's features.

    None where a run has none: its method has no linear map, or the embedding itself learned
    nothing, as with layers inside of the student.

    Args:
        checkpoint: whose run folder is looked at.
        width: features of the embedding.

    Raises:
        UserError: if the file is damaged.
    """
    file = checkpoint.file.with_name(f"{FILE}.safetensors")
    if checkpoint.file.name != "model.safetensors" or not file.is_file():
        return None
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{shortened(file, 150)} cannot be read: {error}.") from None
    matrix = tensors.get("weight")
    if matrix is None:
        return None
    if matrix.ndim != 2 or matrix.shape[1] != width:
        say(
            file,
            [f"left out, as it is of {tuple(matrix.shape)} and the embedding has {width} features"],
        )
        return None
    return matrix.float()


def saved_projection(checkpoint: Checkpoint, width: int) -> Tensor | None:
    """Return the same where the matrix is orthogonal; None for another."""
    matrix = saved_matrix(checkpoint, width)
    return matrix if matrix is not None and is_orthogonal(matrix) else None


def is_orthogonal(matrix: Tensor) -> bool:
    """Return whether the columns of a matrix (T, S) are orthonormal, or its rows where T < S."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    identity = torch.eye(tall.shape[1])
    return bool(torch.allclose(tall.T @ tall, identity, atol=_TOLERANCE))
