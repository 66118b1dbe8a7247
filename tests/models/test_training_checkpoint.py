"""The moments of the release's optimiser, against a real AdamW in its order."""

import pytest
import torch

from support.release_training import groups_of, stored_state, trained, training_file
from vkd import create_model
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint
from vkd.models.training_checkpoint import read_training_checkpoint
from vkd.training.start import load_moments

KINDS = {
    "deit_ti_distilled": "deit",
    "vidt_nano": "vidt",
    "vidt_nano_distilled": "vidt",
    "vidt_nano_plain": "vidt",
    "vidt_nano_wo_neck": "vidt",
    "vidt_nano_fusion": "vidt",
    "vidt_nano_iou": "vidt",
    "vidt_nano_shaped": "vidt",
    "vidt_coat_lite_mini": "vidt",
}


@pytest.fixture(params=KINDS)
def written(request, tmp_path):
    name = request.param
    return name, *training_file(name, tmp_path, KINDS[name], epoch=4)


def test_each_weight_here_gets_the_moments_of_the_same_weight_there(written):
    _, file, moments, state = written
    begun = read_training_checkpoint(file)
    assert (begun.epoch, begun.finished) == (4, 5)
    read = begun.weights
    model = create_model(read.architecture, read)
    # A weight is known by its own numbers, which no two of the formula share.
    ours = {}
    for name, parameter in model.named_parameters():
        ours.setdefault(parameter.detach().numpy().tobytes(), []).append(name)
    checked = 0
    for key, moment in moments.items():
        value = state.get(f"module.{key}", state.get(key))
        for name in ours.get(value.numpy().tobytes(), []):
            found = begun.moments[name]
            assert found["exp_avg"].equal(moment["exp_avg"]), (key, name)
            assert found["exp_avg_sq"].equal(moment["exp_avg_sq"]), (key, name)
            assert float(found["step"]) == 2
            checked += 1
    assert checked == sum(1 for _ in model.parameters())


def test_what_has_no_place_here_is_counted(written):
    _, file, moments, _ = written
    begun = read_training_checkpoint(file)
    originals = sum("original" in key for key in moments)
    assert bool(begun.notes) == bool(originals), begun.notes
    if originals:
        assert f"{originals} of {len(moments):,} parameters" in begun.notes[0]


def test_the_step_after_is_the_one_that_torch_would_take(tmp_path):
    state, parameters = stored_state("vidt_nano_plain")
    optimizer = trained(parameters, groups_of(parameters, "vidt"))
    file = tmp_path / "file.pth"
    torch.save({"model": state, "optimizer": optimizer.state_dict(), "epoch": 0}, file)
    begun = read_training_checkpoint(file)
    model = create_model("vidt_nano", begun.weights)
    own = torch.optim.AdamW(model.parameters(), lr=1e-4)
    taken = load_moments(own, model, begun.moments)
    assert taken == sum(1 for _ in model.parameters())
    pairs = ("input_proj.0.0.weight", "bbox_embed.0.layers.2.bias", "class_embed.0.weight",
             "backbone.det_token", "transformer.decoder.layers.5.norm3.weight")  # fmt: skip
    named = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.grad = None
    for key in pairs:
        gradient = torch.randn(parameters[key].shape)
        parameters[key].grad, named[key].grad = gradient.clone(), gradient.clone()
    optimizer.step()
    own.step()
    for key in pairs:
        assert named[key].equal(parameters[key]), key


def _with_groups(file, change):
    content = torch.load(file, weights_only=False)
    change(content)
    torch.save(content, file)
    return read_training_checkpoint(file)


def test_groups_in_another_order_are_known_by_their_shapes(tmp_path):
    file, _, _ = training_file("vidt_nano_wo_neck", tmp_path, "vidt")
    expected = read_training_checkpoint(file).moments

    def turned(content):
        content["optimizer"]["param_groups"].reverse()

    found = _with_groups(file, turned).moments
    assert found.keys() == expected.keys()
    assert all(found[k]["exp_avg"].equal(expected[k]["exp_avg"]) for k in found)


def test_a_group_of_other_parameters_is_left_out_and_counted(tmp_path):
    file, _, _ = training_file("vidt_nano_wo_neck", tmp_path, "vidt")
    count = {}

    def shortened(content):
        group = content["optimizer"]["param_groups"][0]
        count["group"] = len(group["params"])
        del content["optimizer"]["state"][group["params"].pop()]

    begun = _with_groups(file, shortened)
    assert not any(name.startswith(("input_proj", "class_embed")) for name in begun.moments)
    assert any(name.startswith("backbone.") for name in begun.moments)
    assert f"moments of {count['group'] - 1} of" in begun.notes[0]


@pytest.mark.parametrize(
    "groups", [None, 3, [], [None], [{}], [{"params": 3}], [{"params": "ab"}], [{"params": [[]]}]]
)
def test_what_is_no_group_is_left_out(tmp_path, groups):
    file, _, _ = training_file("vidt_nano_wo_neck", tmp_path, "vidt")

    def spoiled(content):
        content["optimizer"]["param_groups"] = groups

    begun = _with_groups(file, spoiled)
    assert begun.moments == {}
    assert "are not taken over" in begun.notes[0]


@pytest.mark.parametrize(
    "entry",
    [{}, {"step": "x"}, {"step": 1.0, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}, 7],
)
def test_a_state_of_another_optimiser_is_left_out(tmp_path, entry):
    file, _, _ = training_file("vidt_nano_wo_neck", tmp_path, "vidt")

    def spoiled(content):
        for place in content["optimizer"]["state"]:
            content["optimizer"]["state"][place] = entry

    begun = _with_groups(file, spoiled)
    assert begun.moments == {}
    assert "are not taken over" in begun.notes[0]


def test_numbers_of_steps_may_be_numbers(tmp_path):
    file, _, _ = training_file("vidt_nano_wo_neck", tmp_path, "vidt")

    def as_numbers(content):
        for entry in content["optimizer"]["state"].values():
            entry["step"] = int(entry["step"])

    begun = _with_groups(file, as_numbers)
    assert all(float(moment["step"]) == 2 for moment in begun.moments.values())
    assert begun.moments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("epoch"), "it has none"),
        (lambda content: content.update(epoch="three"), "it has 'three'"),
        (lambda content: content.update(epoch=-1), "it has -1"),
    ],
)
def test_a_file_without_an_epoch_is_none_to_go_on_from(tmp_path, change, message):
    file, _, _ = training_file("vidt_nano_wo_neck", tmp_path, "vidt")
    with pytest.raises(UserError, match=message):
        _with_groups(file, change)


def test_weights_alone_have_no_moments(tmp_path):
    file, _, _ = training_file("vidt_nano_wo_neck", tmp_path, "vidt")
    begun = _with_groups(file, lambda content: content.pop("optimizer"))
    assert (begun.moments, begun.notes) == (
        {}, ["it has no state of an optimiser, so moments start anew"],
    )  # fmt: skip


def test_averaged_weights_are_the_models(tmp_path):
    file, _, state = training_file("deit_ti_distilled", tmp_path, "deit", averaged=True)
    begun = read_training_checkpoint(file)
    own = read_checkpoint(file).state
    assert begun.averaged.keys() == own.keys()
    assert begun.averaged["patch_embed.conv.0.weight"].equal(
        state["module.conv_embed.conv.0.weight"] + 0.5
    )
    assert begun.scaler["scale"] == 1024.0


def test_scales_and_shifts_of_projections_have_their_moments(tmp_path):
    file, moments, _ = training_file("vidt_nano_distilled", tmp_path, "vidt")
    begun = read_training_checkpoint(file)
    names = {
        "patch_0": "patch_projector_1", "patch_1": "patch_projector_2",
        "patch_2": "patch_projector_3", "patch_3": "patch_projector_4",
        "body": "body_det_projector", "neck": "neck_det_projector",
    }  # fmt: skip
    expected = {
        f"{own}.{part}": moments[f"{theirs}.{part}"]
        for own, theirs in names.items()
        for part in ("weight", "bias")
    }
    assert begun.projection_moments.keys() == expected.keys()
    for name, moment in expected.items():
        assert begun.projection_moments[name]["exp_avg"].equal(moment["exp_avg"]), name
