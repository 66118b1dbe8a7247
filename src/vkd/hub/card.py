"""The card of a published model."""

import json
import shlex
from dataclasses import asdict, replace

from huggingface_hub import ModelCard

from vkd.config import TrainingConfig
from vkd.hub.model import Model
from vkd.models.factory import HUB, published_config
from vkd.network_names import is_saved_folder, parse
from vkd.reporting.described import Described, Statement
from vkd.reporting.markdown import code
from vkd.reporting.model_card import model_card
from vkd.tasks import metric_of, task_of
from vkd.training.spec import TaskSpec


def card_of(model: Model, title: str, place: str, by_timm: bool, statement: Statement) -> ModelCard:
    """Return the card of a model.

    Args:
        model: that is published.
        title: of the card.
        place: name of the folder or repository.
        by_timm: whether timm loads it.
        statement: of its maker.
    """
    spec = task_of(model.config) if model.config else None
    if not statement.base_model:
        statement = replace(statement, base_model=_start(model.config))
    parameters = sum(part.numel() for part in model.network.parameters())
    return model_card(
        Described(
            title=title,
            config=model.config,
            loading=_loading(model, place, by_timm),
            commands=_commands(model, place),
            metrics=model.metrics,
            labels=_labels(spec, model.config),
            cost={"parameters": parameters},
            versions=json.loads(model.metadata.get("versions", "{}")),
            library="timm" if by_timm and not model.needs_ours else "vkd",
            pipeline_tag=spec.pipeline_tag if spec else "",
            statement=statement,
        )
    )


def _start(config: TrainingConfig | None) -> str:
    """The weights on the hub that a student started from; empty where there are none."""
    fields = asdict(config) if config else {}
    if fields.get("student_checkpoint") != HUB:
        return ""
    source, own = parse(fields["student"])
    if source == "hugging_face":
        return "" if is_saved_folder(fields["student"]) else own
    return published_config(fields["student"]).get("hf_hub_id", "")


def _labels(spec: TaskSpec | None, config: TrainingConfig | None) -> dict[str, str]:
    if spec is None or config is None or spec.metric is None:
        return {}
    metric = metric_of(config)
    return {metric.name: metric.label}


def _loading(model: Model, place: str, by_timm: bool) -> dict[str, str]:
    """Python that loads a model, by who loads it."""
    given = "student" in model.config.objects if model.config else False
    student = f", student={model.architecture}()" if given and not by_timm else ""
    own = f"import vkd\n\nmodel = vkd.from_pretrained({json.dumps(place)}{student})"
    found = {f"With vkd; the folder {code(place)}, or the name of its repository:": own}
    if by_timm:
        ours = "import vkd.models  # registers the architecture\n" if model.needs_ours else ""
        who = "With timm, after `import vkd.models`" if ours else "With timm alone"
        python = f"model = timm.create_model({json.dumps(f'local-dir:{place}')}, pretrained=True)"
        words = f"{who}; `hf-hub:OWNER/NAME` from a repository:"
        found[words] = f"import timm\n{ours}\n{python}"
    return found


def _commands(model: Model, place: str) -> list[str]:
    """What the command line does with a model."""
    if model.config is None or model.config.objects:
        return []
    spec = task_of(model.config)
    data = " --data-path DATA" if asdict(model.config).get("data_path") else ""
    where = shlex.quote(place)
    found = [f"vkd eval --checkpoint {where}{data}"]
    if spec.predict is not None:
        found.append(f"vkd predict --checkpoint {where} PICTURE")
    if spec.export is not None:
        found.append(f"vkd export --checkpoint {where} model.onnx")
    return found
