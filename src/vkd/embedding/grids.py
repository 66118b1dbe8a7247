"""Features of places: grids that are compared place by place."""

from math import isqrt

from torch import Tensor
from torch.nn import functional as F

from vkd.features import dense, layout_of


def grid_of(features: Tensor, prefix_tokens: int = 0) -> Tensor:
    """Return features as a grid (N, D, H, W).

    Args:
        features: maps (N, D, H, W) or (N, H, W, D), or tokens (N, L, D) of a square grid.
        prefix_tokens: class or register tokens at the start of tokens, which are left out.

    Raises:
        ValueError: for features without places, or tokens that make no square.
    """
    layout = layout_of(features)
    if layout == "NCHW":
        return features
    if layout == "NHWC":
        return features.movedim(3, 1)
    if layout == "NLC":
        tokens = features[:, prefix_tokens:]
        side = isqrt(tokens.shape[1])
        if not side or side * side != tokens.shape[1]:
            raise ValueError(
                f"Features {tuple(features.shape)} with {prefix_tokens} tokens before those of "
                "places make no square grid, which dense distillation compares."
            )
        return tokens.mT.unflatten(2, (side, side))
    raise ValueError(
        f"Features {tuple(features.shape)} have no places for dense distillation to compare; name "
        "a layer before pooling."
    )


def matched_rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features of all places of two grids as rows (N * H * W, D) of each side.

    A teacher's grid of another size is resampled to the student's: averaged where it becomes
    lower, else interpolated.

    Args:
        student: (N, D, H, W).
        teacher: (N, E, any sides of the same proportions).
    """
    size = student.shape[2:]
    if teacher.shape[2:] != size:
        kind = teacher.dtype
        teacher = F.interpolate(teacher.float(), size, mode="bilinear", antialias=True).to(kind)
    rows = dense("NCHW")
    return rows(student), rows(teacher)


def check_grids(student: Tensor, teacher: Tensor, names: str) -> str:
    """Return what is said of two grids of different sizes; nothing of equal ones.

    Args:
        student, teacher: (N, D, H, W).
        names: of the two layers, for messages.

    Raises:
        ValueError: for grids of different proportions, whose places are not the same.
    """
    (height, width), (rows, columns) = student.shape[2:], teacher.shape[2:]
    shown = f"{height} x {width} and {rows} x {columns}"
    if height * columns != width * rows:
        raise ValueError(f"{names} have grids of {shown}; they must have the same proportions.")
    if (height, width) == (rows, columns):
        return ""
    return f"{names} have grids of {shown}, so the teacher's is resampled to the student's"
