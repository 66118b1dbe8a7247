"""transformers' vision backbones and image classifiers, of the hub or a folder."""

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from vkd.errors import RunError, UserError, reason_of, shortened
from vkd.models.sources.hugging_face_files import (
    check_weights,
    config_values,
    file_problem,
    found_file,
    safe_values,
)
from vkd.models.sources.hugging_face_inputs import processor_inputs
from vkd.models.sources.source import CONFIG, Options, Source, fitting_all, stored_options
from vkd.models.sources.tensor_network import tensor_network
from vkd.notes import say

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_SIDE = 224  # of images, where a config names none
_POOLER = "pooler."
_HEAD = "classifier"
_MOST_LISTED = 2


def _problem(own: str) -> str:
    return _lack(own) or file_problem(own)


def _lack(own: str) -> str:
    if find_spec("transformers") is None:
        return f"hf/{own} needs transformers: pip install 'vkd[hugging-face]'"
    return ""


def _build(own: str, options: Options) -> nn.Module:
    given = dict(options)
    stored = given.pop(CONFIG, None)
    if lack := _lack(own):  # a stored config is built without a look at its name
        raise UserError(f"{lack}.")
    with _quiet():
        config = _config(own, _json(own, stored) if stored else config_values(own))
        classes = _fit(own, config, given)
        automatic, kind = _kinds(own, config)
        network = automatic.from_config(config, dtype=torch.float32)
        # A stored config is that of a run, whose file says how it takes images.
        known = {} if stored else processor_inputs(own)
        return tensor_network(network, classes, _inputs_of(kind, config, known, options))


def _published(own: str, options: Options) -> nn.Module:
    """With the weights as safetensors; what they lack is refused, but for a head or pooler."""
    check_weights(own)
    with _quiet():
        config = _config(own, config_values(own))
        before = config.num_labels
        classes = _fit(own, config, dict(options))
        automatic, kind = _kinds(own, config)
        try:
            network, found = automatic.from_pretrained(
                own, config=config, dtype=torch.float32, use_safetensors=True,
                trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True,
            )  # fmt: skip
        except (OSError, SafetensorError) as error:
            raise _absent(own, error) from None
        # What a network makes of odd values is of no fixed kind.
        except Exception as error:
            raise UserError(f"hf/{own} cannot be built: {reason_of(error)}.") from None
        _settle(own, network, found, is_other=classes != before)
        known = processor_inputs(own)
        made = tensor_network(network, classes, _inputs_of(kind, config, known, options))
    if not _is_library_head(config) and classes:
        say(f"hf/{own}", ["it has no classifier, so one starts anew on its pooled features"])
    return made


def _absent(own: str, error: Exception) -> UserError | RunError:
    is_there = any(found_file(own, f"model.safetensors{end}") for end in ("", ".index.json"))
    if is_there:
        return RunError(f"The weights of hf/{own} could not be read: {reason_of(error)}.")
    return UserError(
        f"hf/{own} has no weights as safetensors, and no other file is read, as it could run code."
    )


def _settle(own: str, network: Any, found: Mapping[str, Any], is_other: bool) -> None:
    """Refuse weights that lack more than a head of other classes, or a pooler."""
    absent = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    poolers = [key for key in absent if key.startswith(_POOLER)]
    heads = [key for key in absent if key.split(".")[0] == _HEAD and is_other]
    rest = [key for key in absent if key not in (*poolers, *heads)]
    if rest:
        listed = ", ".join(rest[:_MOST_LISTED])
        raise UserError(
            f"hf/{shortened(own, 60)}: {len(rest)} tensors of {type(network).__name__} are not "
            f"among its weights, or have other shapes: {shortened(listed, 90)}."
        )
    if poolers:
        network.pooler = None
        say(f"hf/{own}", ["its weights have no pooler, so pooled features are its class token"])
    if heads:
        say(f"hf/{own}", [f"{', '.join(heads)} start anew, for other classes than its own"])


def _json(own: str, stored: str) -> dict[str, Any]:
    try:
        found = json.loads(stored)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("model_type"), str):
        raise UserError(f"hf/{own}: the config that its checkpoint holds is none of transformers.")
    return found


def _config(own: str, values: Mapping[str, Any]) -> "PreTrainedConfig":
    """The config of what sees images; of a pair with texts that is a part of it."""
    from transformers import CONFIG_MAPPING

    kind = values["model_type"]
    if kind not in CONFIG_MAPPING:
        raise UserError(f"hf/{own}: transformers knows no networks of the model_type {kind!r}.")
    try:
        config: Any = CONFIG_MAPPING[kind].from_dict(safe_values(dict(values)))
    # What a config makes of odd values is of no fixed kind.
    except Exception as error:
        raise UserError(f"hf/{own}: its config cannot be used: {reason_of(error)}.") from None
    if not _is_library_head(config):
        config = _of_images(config)
    config.return_dict = True
    return config


def _is_library_head(config: "PreTrainedConfig") -> bool:
    """Whether a config says that it is of the library's classifier."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
    )

    known = CLASSIFIERS.get(config.model_type, ())
    named = config.architectures or []
    return bool(set(named) & set((known,) if isinstance(known, str) else known))


def _kinds(own: str, config: "PreTrainedConfig") -> tuple[Any, type["PreTrainedModel"]]:
    """What builds a config's network, and the network's class, which must take images."""
    from transformers import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        MODEL_MAPPING,
        AutoModel,
        AutoModelForImageClassification,
    )

    automatic: Any = AutoModel
    known: Mapping[Any, Any] = MODEL_MAPPING
    if _is_library_head(config):
        automatic, known = AutoModelForImageClassification, MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    if type(config) not in known:
        raise UserError(f"hf/{own}: transformers has no backbone for {config.model_type}.")
    kind = known[type(config)]
    kind = kind[0] if isinstance(kind, tuple | list) else kind
    if kind.main_input_name != "pixel_values":
        raise UserError(
            f"hf/{own} is no network of images: {kind.__name__} takes {kind.main_input_name}."
        )
    return automatic, kind


def _fit(own: str, config: Any, given: Options) -> int:
    """Change a config by options, and return the number of classes."""
    classes = given.pop("num_classes", config.num_labels if _is_library_head(config) else 0)
    if _is_library_head(config) and classes not in (0, config.num_labels):
        config.num_labels = classes
    names = {"in_chans": "num_channels", "drop_path_rate": "drop_path_rate"}
    seen = _of_images(config)
    known = seen.to_dict()
    side = given.pop("img_size", None)
    if side and "image_size" in known:  # without it a network takes any size
        seen.image_size = side
    for option, value in given.items():
        name = names.get(option, "")
        if name not in known:
            raise UserError(f"hf/{own}: its networks take no {option}, found {value}.")
        setattr(seen, name, value)
    return classes


def _of_images(config: Any) -> Any:
    """The part of a config that describes what sees images."""
    return config.vision_config if "vision_config" in config.sub_configs else config


def _inputs_of(
    kind: type["PreTrainedModel"],
    config: "PreTrainedConfig",
    known: Mapping[str, Any],
    options: Options,
) -> dict[str, Any]:
    """What is known of a network's inputs: its processor's, at the size it is built for."""
    values = _of_images(config).to_dict()
    side = values.get("image_size") or _SIDE
    sides = tuple(side) if isinstance(side, list | tuple) else (side, side)
    channels = values.get("num_channels", 3)
    built = {"input_size": (channels, *sides)}
    # What can stretch its positions when told to is made for one size.
    signature = inspect.signature(kind.forward)
    fixed = {"fixed_input_size": "interpolate_pos_encoding" in signature.parameters}
    is_sized = "img_size" in options or CONFIG in options
    return {**built, **known, **(built if is_sized else {}), **fixed}


def _inputs(own: str) -> dict[str, Any]:
    with _quiet():
        config = _config(own, config_values(own))
        _, kind = _kinds(own, config)
        return _inputs_of(kind, config, processor_inputs(own), {})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing bars and reports; what matters is said."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


SOURCE = Source(
    problem=_problem, build=_build, published=_published, inputs=_inputs, fitting=fitting_all,
    stored=stored_options,
)  # fmt: skip
