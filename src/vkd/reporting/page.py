"""Building blocks of a self-contained HTML page."""

from base64 import b64encode
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vkd.errors import UserError
from vkd.projection import orthogonality_error
from vkd.reporting import plots
from vkd.reporting.environment import environment

CURVES = {
    ("validation", "accuracy"): "validation accuracy, %",
    ("validation", "AP"): "validation AP, %",
    ("validation", "FID"): "FID",
    ("validation", "frechet_distance"): "Frechet distance of the extractor's features",
    ("validation", "diversity"): "diversity, as a share of real images'",
    ("train", "loss"): "training loss, all terms",
    ("train", "feature"): "feature loss, weighted",
}
SHOWN_SAMPLES = 6
PAGE = Path(__file__).parent / "page.html"


def curves(histories: dict[str, list[list[dict[str, Any]]]]) -> list[tuple[str, str]]:
    """Figures of validation metrics and training losses of each method's runs."""
    found, colours = [], plots.palette(histories)
    for (part, name), label in CURVES.items():
        shown = {
            method: runs
            for method, runs in histories.items()
            if any(name in record.get(part, {}) for record in runs[0])
        }
        if shown:
            caption = f"{label[0].upper()}{label[1:]}, by epoch."
            found.append((plots.curves(shown, colours, part, name, label), caption))
    return found


def projections(runs: dict[str, Path]) -> dict[str, torch.Tensor]:
    """Projection weights (teacher_dim, student_dim) of the run folders that have one."""
    files = {name: run / "projection.safetensors" for name, run in runs.items()}
    return {name: _weight(file) for name, file in files.items() if file.is_file()}


def _weight(file: Path) -> torch.Tensor:
    try:
        weight = load_file(file)["weight"]
    except (SafetensorError, OSError, KeyError):
        raise UserError(f"{file} is damaged: it holds no projection.") from None
    if weight.ndim != 2 or not weight.numel() or not weight.isfinite().all():
        raise UserError(f"{file} is damaged: its weight is no matrix of finite numbers.")
    return weight


def samples(runs: dict[str, Path]) -> str:
    """A section with pictures of what each run made, over time; empty where none did."""
    figures = []
    for name, run in runs.items():
        files = sorted((run / "samples").glob("epoch-[0-9][0-9][0-9][0-9][0-9].png"))
        step = max(1, -(-len(files) // SHOWN_SAMPLES))
        for file in files[::-1][::step][::-1]:
            data = b64encode(file.read_bytes()).decode()
            epoch = int(file.stem.removeprefix("epoch-"))
            text = escape(f"{name}, epoch {epoch}: a row for each class.")
            figures.append(
                f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
                f"<figcaption>{text}</figcaption></figure>"
            )
    if not figures:
        return ""
    return section("Samples", f'<div class="samples">{"".join(figures)}</div>')


def projection_figure(
    projections: dict[str, torch.Tensor], colours: dict[str, str]
) -> list[tuple[str, str]]:
    """A figure of the projections' singular values."""
    if not projections:
        return []
    spectra = {name: torch.linalg.svdvals(w).tolist() for name, w in projections.items()}
    caption = "Spectrum of the learned projection: all ones keeps inner products unchanged."
    return [(plots.spectra(spectra, colours), caption)]


def projection_table(projections: dict[str, torch.Tensor]) -> str:
    """A section on how orthogonal each projection is."""
    if not projections:
        return ""
    rows = []
    for name, weight in projections.items():
        values = torch.linalg.svdvals(weight)
        condition = f"{values[0] / values[-1]:.3g}"
        shape = f"{weight.shape[1]} → {weight.shape[0]}"
        rows.append([name, shape, f"{orthogonality_error(weight):.1e}", condition])
    cells = table(["run", "projection", "max |QᵀQ − I|", "condition number"], rows)
    return section("Orthogonality", cells)


def table(header: list[str], rows: list[list[str]], best: int = -1) -> str:
    """An HTML table; the row number ``best`` stands out."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = "".join(
        f"<tr{' class=best' if index == best else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="card"><table><tr>{head}</tr>{lines}</table></div>'


def section(title: str, content: str) -> str:
    """A headed section."""
    return f"<h2>{escape(title)}</h2>\n{content}"


def figures(figures: list[tuple[str, str]]) -> str:
    """A section of (svg, caption) figures."""
    parts = [
        f"<figure>{svg}<figcaption>{escape(text)}</figcaption></figure>" for svg, text in figures
    ]
    return section("Curves", f'<div class="figures">{"".join(parts)}</div>')


def details(recipes: dict[str, str]) -> str:
    """A section of folded recipes and the environment."""
    facts = "\n".join(f"{name}: {value}" for name, value in environment().items())
    blocks = {"Environment": facts} | {f"Recipe: {name}": text for name, text in recipes.items()}
    parts = [
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in blocks.items()
    ]
    return section("Recipe and environment", f'<div class="card">{"".join(parts)}</div>')


def write_page(output: Path, title: str, lead: str, body: list[str]) -> Path:
    """Write a page and return its path."""
    output.parent.mkdir(parents=True, exist_ok=True)
    page = Template(PAGE.read_text())
    output.write_text(page.substitute(title=escape(title), lead=escape(lead), body="\n".join(body)))
    return output
