"""The trained projection as reports read it."""

from torch import Tensor

from vkd.projection import OrthogonalProjection


def saved_projection(state: dict[str, Tensor], prefix: str) -> dict[str, dict[str, Tensor]]:
    """Return ``weight`` (teacher_dim, student_dim) of the projection at ``prefix`` of a module's
    state, to be saved as ``projection``; nothing where there is none, or one of several layers."""
    weight, parameter = state.get(prefix + "weight"), state.get(prefix + "parameter")
    if parameter is not None:
        projection = OrthogonalProjection(parameter.shape[1], parameter.shape[0])
        projection.load_state_dict({"parameter": parameter})
        weight = projection.weight
    return {} if weight is None else {"projection": {"weight": weight}}
