"""The model card beside weights, as the hub of Hugging Face reads it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from vkd.config import DistillationConfig, TrainingConfig, default_values
from vkd.files import write_whole
from vkd.reporting.described import (
    Described,
    dataset_of,
    is_of_vkd,
    method_of,
    teachers_of,
)
from vkd.reporting.environment import environment
from vkd.reporting.markdown import block, code, words
from vkd.reporting.privacy import without_paths

_MARK = "<!-- written by vkd -->"
_UNKNOWN = "not stated by its maker, and not assumed here"
_PAPER = "2403.06213"
_CITATION = f"""
## Citation

```bibtex
@inproceedings{{miles2024vkd,
  title = {{VkD: Improving Knowledge Distillation using Orthogonal Projections}},
  author = {{Miles, Roy and Elezi, Ismail and Deng, Jiankang}},
  booktitle = {{CVPR}},
  year = {{2024}},
  eprint = {{{_PAPER}}},
  archivePrefix = {{arXiv}}
}}
```
"""


def write_model_card(
    file: Path, config: TrainingConfig, metrics: dict[str, float], cost: dict[str, float]
) -> None:
    """Write the card of a run folder; one that a user has edited is left alone.

    Args:
        file: the card.
        config: the recipe.
        metrics: on the validation split.
        cost: ``parameters`` and ``macs`` of the model.
    """
    if is_edited(file):
        return
    names = config.model_names() | config.objects
    student = names.get("student", config.task)
    loading = f'model = vkd.create_model({json.dumps(student)}, checkpoint="model.safetensors")'
    if "student" in config.objects:
        loading = (
            f'model = vkd.load_checkpoint({student}(), "model.safetensors")  # your own network'
        )
    described = Described(
        title=student, config=config, loading={"": f"import vkd\n\n{loading}"}, metrics=metrics,
        cost=cost, versions=environment(),
    )  # fmt: skip
    write_whole(file, str(model_card(described)))


def is_edited(file: Path) -> bool:
    """Whether a card is there that is not as it was written."""
    return file.exists() and _MARK not in file.read_text(encoding="utf-8", errors="replace")


def model_card(described: Described) -> ModelCard:
    """Return the card of a model, with the hub's metadata in front."""
    parts = [
        f"---\n{_metadata(described).to_yaml()}\n---\n{_MARK}\n\n# {words(described.title)}\n",
        _introduction(described),
        _loading(described),
        _measured(described),
        _origin(described.config),
        _licences(described),
        _recipe(described.config),
    ]
    if described.versions:
        versions = ", ".join(words(f"{name} {value}") for name, value in described.versions.items())
        parts.append(f"## Environment\n\nTrained with {versions}.\n")
    if is_of_vkd(described.config):
        parts.append(_CITATION.lstrip())
    return ModelCard("\n".join(part for part in parts if part))


def _metadata(described: Described) -> ModelCardData:
    statement, tag = described.statement, described.pipeline_tag
    tags = ["knowledge-distillation", "vkd", *([tag] if tag else [])]
    if is_of_vkd(described.config):
        tags.append(f"arxiv:{_PAPER}")
    results = _results(described)
    return ModelCardData(
        license=statement.license or None,
        library_name=described.library,
        pipeline_tag=tag or None,
        tags=tags,
        datasets=list(statement.datasets) or None,
        base_model=statement.base_model or None,
        metrics=[result.metric_type for result in results] or None,
        model_name=described.title,
        eval_results=results or None,
    )


def _results(described: Described) -> list[EvalResult]:
    """The metrics as the hub's index of models has them."""
    config = described.config
    if config is None:
        return []
    dataset = dataset_of(config)
    return [
        EvalResult(
            task_type=described.pipeline_tag or config.task,
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split="validation",
            metric_type=name,
            metric_value=float(f"{value:.6g}"),
            metric_name=described.labels.get(name, name),
        )
        for name, value in described.metrics.items()
        if math.isfinite(value)
    ]


def _introduction(described: Described) -> str:
    config = described.config
    sentences = []
    if config is not None:
        teachers = _listed(teachers_of(config))
        distilled = f", distilled from {teachers}" if teachers else ""
        sentences.append(f"Trained on {words(dataset_of(config))}{distilled}.")
    if described.cost:
        macs = described.cost.get("macs")
        counted = f", {macs / 1e9:.3f} G multiply-adds an image" if macs is not None else ""
        sentences.append(f"{described.cost['parameters'] / 1e6:.2f} M parameters{counted}.")
    return " ".join(sentences) + "\n" if sentences else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(code(name) for name in names)


def _loading(described: Described) -> str:
    parts = ["## How to load it\n"]
    for how, python in described.loading.items():
        parts.append((f"{how}\n\n" if how else "") + block(python, "python"))
    if described.commands:
        lines = "\n".join(described.commands)
        parts.append(f"At the command line:\n\n{block(lines, 'sh')}")
    return "\n".join(parts)


def _measured(described: Described) -> str:
    if not described.metrics:
        return "## Metrics\n\nNone are known.\n"
    labels = described.labels
    rows = "\n".join(
        f"| {words(labels.get(name, name))} | {value:.4g} |"
        for name, value in described.metrics.items()
    )
    return f"## Metrics\n\n| validation metric | value |\n| --- | --- |\n{rows}\n"


def _origin(config: TrainingConfig | None) -> str:
    """How the model was trained, in words."""
    if config is None:
        return ""
    fields, _ = without_paths(asdict(config))
    lines = [f"- Data: {words(dataset_of(config))}"]
    if fields.get("data_path") and "data" not in config.objects:
        lines[0] += f", {code(str(fields['data_path']))}"
    if isinstance(config, DistillationConfig) and config.needs_teacher:
        method = method_of(config)
        lines += [
            f"- Teacher: {_listed(teachers_of(config))}, frozen, not in these weights",
            f"- Method: {code(method)}{words(_details(method, fields))}",
        ]
    else:
        lines.append("- Method: trained alone, without a teacher")
    return "## How it was trained\n\n" + "\n".join(lines) + "\n"


def _details(method: str, fields: Mapping[str, Any]) -> str:
    shown = ["feature_weight", "logit_weight", "method_options"]
    if method == "vkd":
        shown = ["projection", "normalization", "distance", *shown]
    found = [f"{name} {fields[name]}" for name in shown if fields.get(name)]
    return f" ({', '.join(found)})" if found else ""


def _licences(described: Described) -> str:
    statement = described.statement
    rows = {"model": statement.license, "training data": statement.data_license}
    if described.config is None or teachers_of(described.config):
        rows["teacher's weights"] = statement.teacher_license
    lines = [f"- of the {what}: {words(licence) or _UNKNOWN}" for what, licence in rows.items()]
    return "## Licences\n\n" + "\n".join(lines) + "\n"


def _recipe(config: TrainingConfig | None) -> str:
    if config is None:
        return ""
    fields, cut = without_paths(asdict(config))
    defaults = default_values(type(config)) | {"task": ""}
    own = {name: value for name, value in fields.items() if value != defaults.get(name)}
    text = yaml.safe_dump(own, sort_keys=False)
    note = f" Paths are cut to their last names: {', '.join(cut)}." if cut else ""
    train = "Saved as `recipe.yaml`, it trains the model anew by `vkd train recipe.yaml`."
    if config.objects:
        given = words(", ".join(f"{role} ({kind})" for role, kind in config.objects.items()))
        train = f"`vkd.train` takes it, and needs what was given in Python: {given}."
    return (
        f"## Recipe\n\n{train} The weights' metadata have every field; these are not the "
        f"defaults.{note}\n\n{block(text, 'yaml')}"
    )
