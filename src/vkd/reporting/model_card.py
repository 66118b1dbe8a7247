"""The model card beside a run's weights, and the sizes of a model as the field reports them."""

from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vkd.config import TrainingConfig
from vkd.reporting.environment import environment


def model_facts(model: nn.Module, *inputs: Tensor) -> dict[str, float]:
    """Return the number of ``parameters`` and of multiply-adds (``macs``) for one image.

    Multiply-adds are what papers on vision models call FLOPs. ``inputs`` are an example of what
    the model takes, a batch of one.
    """
    device = next(model.parameters()).device
    training = model.training
    # The counter follows gradients, and stumbles over views of parameters that need one.
    detached = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        placed = tuple(part.to(device) for part in inputs)
        torch.func.functional_call(model.eval(), detached, placed)
    model.train(training)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}


def write_model_card(
    file: Path, config: TrainingConfig, metrics: dict[str, float], facts: dict[str, float]
) -> None:
    """Write a card for the hub of Hugging Face; one that a user has edited is left alone."""
    if file.exists() and "<!-- written by vkd -->" not in file.read_text():
        return
    fields = asdict(config)
    student = fields.get("student") or fields["model"]
    teacher = fields.get("teacher", "")
    data = ModelCardData(library_name="vkd", tags=["knowledge-distillation", "vkd"])
    measured = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    taught = f", taught by {teacher}" if teacher else ""
    content = f"""---
{data.to_yaml()}
---
<!-- written by vkd -->

# {student}

Trained on {fields.get("dataset", "")}{taught}.

| validation metric | value |
| --- | --- |
{measured}

{facts["parameters"] / 1e6:.2f} M parameters, {facts["macs"] / 1e9:.3f} G multiply-adds an image.

```python
import vkd

model = vkd.create_model("{student}", checkpoint="model.safetensors")
```

## Recipe

```yaml
{yaml.safe_dump(fields, sort_keys=False)}```

## Environment

{", ".join(f"{name} {value}" for name, value in environment().items())}
"""
    ModelCard(content).save(file)
