"""The model card beside a run's weights."""

from dataclasses import asdict
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, ModelCardData

from vkd.config import TrainingConfig
from vkd.reporting.environment import environment


def write_model_card(
    file: Path, config: TrainingConfig, metrics: dict[str, float], cost: dict[str, float]
) -> None:
    """Write a card for the hub of Hugging Face; one that a user has edited is left alone.

    Args:
        file: the card.
        config: the recipe.
        metrics: on the validation split.
        cost: ``parameters`` and ``macs`` of the model.
    """
    if file.exists() and "<!-- written by vkd -->" not in file.read_text():
        return
    fields = asdict(config)
    names = config.model_names() | config.objects
    student, teacher = names.get("student", config.task), names.get("teacher", "")
    loading = f'vkd.create_model("{student}", checkpoint="model.safetensors")'
    if "student" in config.objects:
        loading = f'vkd.load_checkpoint({student}(), "model.safetensors")  # your own network'
    data = ModelCardData(library_name="vkd", tags=["knowledge-distillation", "vkd"])
    measured = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    distilled = f", distilled from {teacher}" if teacher else ""
    content = f"""---
{data.to_yaml()}
---
<!-- written by vkd -->

# {student}

Trained on {fields.get("dataset", "")}{distilled}.

| validation metric | value |
| --- | --- |
{measured}

{cost["parameters"] / 1e6:.2f} M parameters, {cost["macs"] / 1e9:.3f} G multiply-adds an image.

```python
import vkd

model = {loading}
```

## Recipe

```yaml
{yaml.safe_dump(fields, sort_keys=False)}```

## Environment

{", ".join(f"{name} {value}" for name, value in environment().items())}
"""
    ModelCard(content).save(file)
