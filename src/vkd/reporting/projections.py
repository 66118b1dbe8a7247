"""The projections of runs: their spectrum, and what they use of the teacher's space."""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vkd.errors import UserError
from vkd.projection import orthogonality_error
from vkd.reporting.blocks import Block, Drawing, Drawings, Missing, Section, Table
from vkd.reporting.plots import Look, line_chart, looks
from vkd.training.similarities import (
    AFTER,
    BEFORE,
    Similarities,
    Similarity,
    read_similarities,
)


def projections(runs: Mapping[str, Path]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the projection weights (teacher_dim, student_dim) of the run folders that have some.

    By run and by the name of each, which is ``weight`` where there is one.
    """
    files = {name: run / "projection.safetensors" for name, run in runs.items()}
    return {name: _weights(file) for name, file in files.items() if file.is_file()}


def _weights(file: Path) -> dict[str, torch.Tensor]:
    try:
        weights = load_file(file)
    except (SafetensorError, OSError):
        weights = {}
    if not weights:
        raise UserError(f"{file} is damaged: it holds no projection.")
    for weight in weights.values():
        is_matrix = weight.is_floating_point() and weight.ndim == 2 and weight.numel() > 0
        if not is_matrix or not weight.isfinite().all():
            raise UserError(f"{file} is damaged: its weight is no matrix of finite numbers.")
    return {name: weight.float() for name, weight in weights.items()}


def named(weights: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return all projections by the names of their runs, and their own where there are several."""
    return {
        run if len(own) == 1 else f"{run}: {name.replace('_', ' ')}": weight
        for run, own in weights.items()
        for name, weight in own.items()
    }


def spectrum(
    weights: Mapping[str, torch.Tensor], chosen: Mapping[str, Look] | None = None
) -> list[Drawing]:
    """Return a figure of the projections' singular values, where there are projections."""
    if not weights:
        return []
    values = {name: torch.linalg.svdvals(weight).tolist() for name, weight in weights.items()}
    lines = {name: [(list(range(1, len(own) + 1)), own)] for name, own in values.items()}
    highest = max(max(own) for own in values.values())
    return [line_chart(
        lines, "index", "singular value",
        "Spectrum of the learned projection: all ones keep inner products unchanged.",
        chosen, limits=(0, 1.08 * highest),
    )]  # fmt: skip


def orthogonality(weights: Mapping[str, torch.Tensor]) -> list[Block]:
    """Return a table of how orthogonal each projection is, where there are projections."""
    if not weights:
        return []
    rows = []
    for name, weight in weights.items():
        values = torch.linalg.svdvals(weight)
        condition = f"{values[0] / values[-1]:.3g}"
        shape = f"{weight.shape[1]} → {weight.shape[0]}"
        rows.append([name, shape, f"{orthogonality_error(weight):.1e}", condition])
    header = ["run", "features", "max |QᵀQ − I|", "condition number"]
    return [Table("Orthogonality of the projection", header, rows)]


def projection_section(runs: Mapping[str, Path], chosen: Mapping[str, Look]) -> Section:
    """Return a section of the projections: spectrum, orthogonality, and the teacher's space."""
    weights = projections(runs)
    flat = named(weights)
    looked = chosen if flat.keys() <= chosen.keys() else looks(flat)
    drawings = spectrum(flat, looked)
    blocks: list[Block] = []
    spaces, table = _spaces(runs)
    if drawings or spaces:
        blocks.append(Drawings(drawings + spaces))
    blocks += orthogonality(flat)
    blocks += table
    blocks += [
        Missing(f"Not recorded by {name}: its method has no linear projection, or none is saved.")
        for name in runs
        if name not in weights
    ]
    return Section("Projection", blocks)


def similarity_section(runs: Mapping[str, Path]) -> Section:
    """Return a section of how like the features are, before and after training."""
    rows: list[list[str]] = []
    blocks: list[Block] = []
    for name, run in runs.items():
        before, after = (read_similarities(run, stage) for stage in (BEFORE, AFTER))
        for found in after.found if after else ():
            earlier = _same(before, found)
            start = f"{earlier.cka:.3f}" if earlier else "not recorded"
            rows.append([name, found.features, start, f"{found.cka:.3f}", found.samples])
        if not (after and after.found):
            reason = after.reason if after else "it ended early, or is of an earlier version"
            blocks.append(Missing(f"Not recorded by {name}: {reason}."))
    if rows:
        header = ["run", "compared", "before", "after", "samples"]
        text = (
            "Linear centred kernel alignment (CKA): 1 for features that are equal up to rotation "
            "and scale. With fewer samples than features it is large for unlike ones, too."
        )
        blocks.insert(0, Table("CKA of student and teacher", header, rows, text=text))
    return Section("Similarity of student and teacher", blocks)


def _same(similarities: Similarities | None, wanted: Similarity) -> Similarity | None:
    """What was compared before as ``wanted`` was after."""
    found = similarities.found if similarities else []
    return next((one for one in found if one.features == wanted.features), None)


def _spaces(runs: Mapping[str, Path]) -> tuple[list[Drawing], list[Block]]:
    """How much of the teacher's variance lies in the span of each projection."""
    drawings: list[Drawing] = []
    rows = []
    for name, run in runs.items():
        before, after = (read_similarities(run, stage) for stage in (BEFORE, AFTER))
        for found in after.found if after else ():
            if not found.of_teacher:
                continue
            earlier = _same(before, found)
            start = f"{100 * sum(earlier.of_span):.1f}" if earlier else "not recorded"
            best = 100 * sum(found.of_teacher[: found.width])
            row = [name, found.features, str(found.width), start]
            rows.append([*row, f"{100 * sum(found.of_span):.1f}", f"{best:.1f}"])
            drawings.append(_space(name, found, earlier))
    if not rows:
        return [], []
    header = ["run", "compared", "directions", "before, %", "after, %", "best possible, %"]
    text = (
        "Share of the variance of the teacher's features, as the method normalises them, that lies "
        "in the span of the projection; the best span of as many directions is that of their "
        "principal components. Of at most 64 of these."
    )
    return drawings, [
        Table("What the student uses of the teacher's space", header, rows, text=text)
    ]


def _space(name: str, found: Similarity, earlier: Similarity | None) -> Drawing:
    places = list(range(1, len(found.of_teacher) + 1))

    def total(shares: list[float]) -> list[tuple[list[int], list[float]]]:
        return [(places, [100 * share for share in accumulate(shares)])]

    lines = {"the teacher's": total(found.of_teacher), "in the projection": total(found.of_span)}
    if earlier is not None and len(earlier.of_span) == len(places):
        lines["before training"] = total(earlier.of_span)
    return line_chart(
        lines, "principal components of the teacher", "variance so far, %",
        f"{name}, {found.features}: variance along the teacher's first components, and what of it "
        f"lies in the projection's {found.width} directions.",
        limits=(0, 104),
    )  # fmt: skip
