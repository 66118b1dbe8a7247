"""Taps on layers that return all sorts of things, and the list of what can be tapped."""

import copy
import gc
import pickle
import weakref
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import Tensor, nn

import vkd
from support.commands import run_python
from vkd.features import FeatureTap, LayerShape, dense, device_of, logits_of, moved, pooling


class ModelOutput(OrderedDict):
    """Like that of Hugging Face: a dict in order, whose values are attributes, too."""

    def __getattr__(self, name):
        return self[name]


@dataclass
class Outputs:
    tokens: Tensor
    pooled: Tensor | None = None


Pair = namedtuple("Pair", "tokens pooled")


class Returns(nn.Module):
    """Returns what a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Outer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.encoder = Returns(function)

    def forward(self, x):
        self.encoder(x)
        return 3 * x


def taken(function, key=""):
    model, x = Outer(function), torch.arange(6.0).reshape(2, 3)
    tap = FeatureTap(model, "encoder" + key)
    model(x)
    return tap.take(), x


@pytest.mark.parametrize(
    ("function", "key", "factor"),
    [
        (lambda x: x, "", 1),
        (lambda x: (x, 2 * x), "", 1),
        (lambda x: (x, 2 * x), ":1", 2),
        (lambda x: (None, 2 * x, x), ":1", 2),
        (lambda x: [2 * x], "", 2),
        (lambda x: (None, 2 * x), "", 2),
        (lambda x: {"a": x, "b": 2 * x}, ":b", 2),
        (lambda x: {"b": 2 * x}, "", 2),
        (lambda x: {"b": 2 * x, "steps": 7}, "", 2),
        (lambda x: {"pooled": x, "last_hidden_state": 2 * x}, "", 2),
        (lambda x: ModelOutput(last_hidden_state=2 * x, pooler_output=x), "", 2),
        (lambda x: ModelOutput(last_hidden_state=2 * x, pooler_output=x), ":pooler_output", 1),
        (lambda x: ModelOutput(last_hidden_state=2 * x, pooler_output=x), ":1", 1),
        (lambda x: Outputs(2 * x), "", 2),
        (lambda x: Outputs(x, 2 * x), ":pooled", 2),
        (lambda x: Pair(x, 2 * x), "", 1),
        (lambda x: Pair(x, 2 * x), ":pooled", 2),
        (lambda x: Pair(None, 2 * x), ":1", 2),
        (lambda x: OrderedDict(a=x, b=2 * x), ":b", 2),
        (lambda x: OrderedDict(a=x, last_hidden_state=2 * x), "", 2),
        (lambda x: {0: x, 1: 2 * x}, ":1", 2),
        (lambda x: SimpleNamespace(a=x, b=2 * x), ":b", 2),
        (lambda x: (2 * x, (x, x)), "", 2),
    ],
)
def test_a_tap_yields_the_named_part_or_the_obvious_one(function, key, factor):
    found, x = taken(function, key)
    assert torch.equal(found, factor * x)


@pytest.mark.parametrize(
    ("function", "key", "message"),
    [
        (
            lambda x: {"a": x, "b": x},
            "",
            r"'encoder' returns dict.*'encoder:KEY', of a \(2, 3\), b",
        ),
        (lambda x: {"a": x}, ":c", r"layer 'encoder' has no tensor 'c'; it has a \(2, 3\)"),
        (lambda x: (x, [x]), ":1", r"no tensor '1'; it has 0 \(2, 3\), 1 list"),
        (lambda x: (x,), ":5", "no tensor '5'"),
        (lambda x: (None, x), ":0", "no tensor '0'"),
        (lambda x: x, ":0", r"no tensor '0'; it has one tensor \(2, 3\)"),
        (lambda x: [[x], [x]], "", "returns list"),
        (lambda x: "text", "", "returns str.*no parts"),
        (lambda x: OrderedDict(a=x, b=x), "", r"returns OrderedDict.*a \(2, 3\), b \(2, 3\)"),
        (lambda x: ModelOutput(a=x, b=x), "", r"returns ModelOutput.*a \(2, 3\), b \(2, 3\)"),
        (lambda x: Outputs(x, x), "", r"returns Outputs.*tokens \(2, 3\), pooled \(2, 3\)"),
        (lambda x: Outputs(x, x), ":logits", r"no tensor 'logits'; it has tokens .*, pooled"),
        (lambda x: ((x, x), {"a": x}), "", "returns tuple.*0 tuple, 1 dict"),
        (lambda x: {"a": {"b": x}, "c": {}}, "", "returns dict.*a dict, c dict"),
        (lambda x: 7, ":a", "no tensor 'a'; it has no parts"),
        (lambda x: {}, "", "returns dict.*no parts"),
        (lambda x: {f"part{i}" * 9: x for i in range(99)}, "", "93 more"),
    ],
)
def test_other_outputs_list_their_parts(function, key, message):
    with pytest.raises(ValueError, match=message) as error:
        taken(function, key)
    assert len(str(error.value)) <= 300


def test_the_empty_name_is_the_models_output():
    model, x = Outer(lambda x: x), torch.ones(2, 3)
    tap, keyed = FeatureTap(model, ""), FeatureTap(Outer(lambda x: x), ":0")
    model(x)
    assert torch.equal(tap.take(), 3 * x)
    assert (keyed.layer, keyed._key) == (":0", "0")


def test_a_layer_that_runs_twice_keeps_the_last():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    tap, x = FeatureTap(model, "0"), torch.randn(2, 3)
    assert torch.equal(model(x), tap.take())
    with pytest.raises(RuntimeError, match="'0' did not run"):
        tap.take()


def tapped():
    """A network with a tap that holds a tensor with a history, and the tap."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())
    tap = FeatureTap(model, "0")
    model(torch.randn(4, 3))
    return model, tap


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        copy.copy,
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: torch.optim.swa_utils.AveragedModel(model).module,
        lambda model: timm.utils.ModelEmaV3(model).module,
    ],
)
def test_a_tapped_model_can_be_copied_after_a_forward_pass(copied):
    model, tap = tapped()
    tap.take()
    twin, x = copied(model).eval(), torch.randn(4, 3)
    assert torch.equal(twin(x), model.eval()(x))
    copy.deepcopy(copied(twin))
    tap.take()
    if copied is not copy.copy:  # which shares the layers
        twin(x)
        with pytest.raises(RuntimeError, match="did not run"):
            tap.take()
    tap.remove()
    tap.remove()
    assert not model[0]._forward_hooks


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_tap_that_is_copied_with_its_model_taps_the_copy(copied, removed):
    model, tap = tapped()
    if removed:
        tap.remove()
    for pair in ((model, tap), (tap, model)):
        twins = copied(pair)
        twin, own = twins if pair[0] is model else twins[::-1]
        assert len(twin[0]._forward_hooks) == (not removed)
        x = torch.randn(4, 3)
        twin(x)
        if not removed:
            assert torch.equal(own.take(), twin[0](x))
        own.remove()
        assert not twin[0]._forward_hooks


@pytest.mark.parametrize("distilled", [False, True])
def test_a_tapped_model_is_saved_and_loaded_where_this_package_is_not(tmp_path, distilled):
    model, _tap = tapped()
    if distilled:
        held = vkd.Distiller(model, nn.Linear(3, 5), "2", "", example=torch.zeros(2, 3))
        held(torch.randn(4, 3))
    model(torch.randn(4, 3))
    torch.save(model, tmp_path / "model.pt")
    x = torch.randn(4, 3)
    torch.save((x, model.eval()(x)), tmp_path / "expected.pt")
    code = """if True:
        import sys
        sys.modules["vkd"] = None
        import torch
        model = torch.load("model.pt", weights_only=False)
        x, expected = torch.load("expected.pt")
        assert torch.equal(model.eval()(x), expected)
        torch.save(model, "again.pt")
    """
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("end", [FeatureTap.take, FeatureTap.remove])
def test_a_tap_holds_nothing_after_use(end):
    model, tap = tapped()
    held = weakref.ref(tap._hook.output)
    end(tap)
    gc.collect()
    assert held() is None
    tap.remove()
    layer = weakref.ref(model[0])
    del model
    gc.collect()
    assert layer() is None


def test_layers_lists_what_ran_and_its_shapes():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(16, 5)))
    found = vkd.layers(model, torch.zeros(2, 3, 4, 4))
    assert found == [
        LayerShape("", "Sequential", (2, 5)),
        LayerShape("0", "Conv2d", (2, 4, 2, 2)),
        LayerShape("1", "Sequential", (2, 5)),
        LayerShape("1.0", "Flatten", (2, 16)),
        LayerShape("1.1", "Linear", (2, 5)),
    ]
    assert vkd.layers(Outer(lambda x: {"a": x, "b": [x]}), torch.zeros(2, 3))[1] == LayerShape(
        "encoder", "Returns", "a (2, 3), b list"
    )


def test_layers_takes_positional_and_keyword_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.idle = nn.Embedding(9, 4), nn.Linear(2, 2)

        def forward(self, ids, mask):
            return self.table(ids) * mask[..., None]

    ids, mask = torch.ones(2, 7, dtype=torch.long), torch.ones(2, 7)
    for example in ((ids, mask), {"mask": mask, "ids": ids}):
        found = vkd.layers(Two(), example)
        assert [(layer.name, layer.shape) for layer in found] == [
            ("", (2, 7, 4)),
            ("table", (2, 7, 4)),
        ]


class Counter(nn.Module):
    """Counts its passes, in both modes, by assignment and in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("assigned", torch.zeros(1))
        self.register_buffer("added", torch.zeros(1))

    def forward(self, x):
        self.assigned = self.assigned + 1
        self.added += 1
        assert not torch.is_grad_enabled()
        assert not self.training
        return x


def test_layers_leaves_modes_hooks_and_buffers_as_they_were():
    model = nn.Sequential(nn.BatchNorm1d(3), Counter(), nn.Dropout())
    model.train()
    model[0].eval()
    seen = []
    model[2].register_forward_hook(lambda *arguments: seen.append(1))
    before = copy.deepcopy(model.state_dict())
    hooks = [dict(module._forward_hooks) for module in model.modules()]
    assert len(vkd.layers(model, torch.randn(4, 3))) == 4
    assert [module.training for module in model.modules()] == [True, False, True, True]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks
    assert seen == [1]
    with pytest.raises(RuntimeError):
        vkd.layers(model, torch.randn(4, 5))
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks
    assert model.training


def test_every_layer_that_is_listed_can_be_tapped():
    model = timm.create_model("resnet10t", num_classes=7).eval()
    images = torch.zeros(2, 3, 64, 64)
    found = vkd.layers(model, images)
    assert {"", "layer4", "fc"} <= {layer.name for layer in found}
    taps = {layer.name: FeatureTap(model, layer.name) for layer in found}
    model(images)
    assert {name: tuple(tap.take().shape) for name, tap in taps.items()} == {
        layer.name: layer.shape for layer in found
    }


def test_logits_are_the_output_or_its_part():
    x = torch.ones(2, 3)
    assert logits_of(x) is x
    assert logits_of(ModelOutput(loss=x + 1, logits=x)) is x
    assert logits_of((x, x)) is None
    assert logits_of({"last_hidden_state": x}) is None


def test_features_that_cannot_be_pooled_are_told_in_a_sentence():
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 5, 6\).*pool=.*a function") as error:
        pooling()(torch.zeros(2, 3, 4, 5, 6))
    assert len(str(error.value)) <= 300
    assert str(error.value).count(". ") == 0


def test_a_hugging_face_model_can_be_tapped():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=16, patch_size=8,
    )  # fmt: skip
    model, images = transformers.ViTModel(config).eval(), torch.randn(2, 3, 16, 16)
    taps = [FeatureTap(model, name) for name in ("", ":pooler_output", "layernorm")]
    output = model(images)
    whole, pooled, normed = (tap.take() for tap in taps)
    assert torch.equal(whole, output.last_hidden_state)
    assert torch.equal(pooled, output.pooler_output)
    assert torch.equal(normed, whole)


def test_dense_features_have_a_row_for_each_place():
    maps = torch.randn(2, 5, 3, 3)
    rows = torch.stack([maps[n, :, i, j] for n in range(2) for i in range(3) for j in range(3)])
    tokens = maps.flatten(2).mT
    torch.testing.assert_close(pooling("dense")(maps), rows)
    torch.testing.assert_close(pooling("dense")(maps.permute(0, 2, 3, 1)), rows)
    torch.testing.assert_close(pooling("dense")(tokens), rows)
    prefixed = torch.cat([torch.full((2, 2, 5), 9.0), tokens], 1)
    torch.testing.assert_close(pooling("dense", 2)(prefixed), rows)
    wide = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(dense("NCHW")(wide), wide.flatten(2).mT.reshape(24, 5))
    for wrong, layout, message in (
        (torch.randn(2, 5), "auto", r"must have places, found shape \(2, 5\)"),
        (wide, "auto", "Cannot infer the layout"),
        (wide, "HWC", "layout must be auto or one of NCHW, NHWC, NLC, found 'HWC'"),
    ):
        with pytest.raises(ValueError, match=message):
            dense(layout)(wrong)


def test_inputs_at_any_depth_are_found_and_moved():
    inputs = ([torch.zeros(3)], [{"boxes": torch.ones(2), "name": "a"}], None)
    assert device_of(inputs) == torch.device("cpu")
    assert device_of(([], {"a": None})) is None
    there = moved(inputs, torch.device("meta"))
    assert there[0][0].device.type == there[1][0]["boxes"].device.type == "meta"
    assert there[1][0]["name"] == "a"
    assert there[2] is None
    assert moved(inputs, None) is inputs
