"""Distiller on real networks of timm: convolutional, windowed and plain transformers."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

import vkd
from vkd.features import pooling
from vkd.teacher import MemoryTeacher, NetworkTeacher, TeacherOutput


def small_vit(**kwargs):
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return timm.models.VisionTransformer(num_classes=7, **shape, **kwargs)


def small_resnet(classes=7):
    return timm.create_model("resnet10t", num_classes=classes)


def make(**kwargs):
    torch.manual_seed(0)
    arguments = {
        "student_layer": "norm",
        "teacher_layer": "layer4",
        "example": torch.zeros(2, 3, 32, 32),
    }
    return vkd.Distiller(small_vit(), small_resnet(), **(arguments | kwargs))


def test_a_transformer_learns_from_a_resnet():
    distiller = make()
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=2e-3)
    images = torch.randn(16, 3, 32, 32)
    losses = []
    for _ in range(30):
        loss = distiller(images).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_compares_mean_patch_tokens_with_the_mean_map():
    distiller = make().eval()
    images = torch.randn(4, 3, 32, 32)
    found = distiller(images)
    tokens = distiller.student.forward_features(images)
    maps = distiller.teacher.model.forward_features(images)
    expected = distiller.loss(tokens[:, 1:].mean(1), maps.mean((2, 3)))
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.output, distiller.student(images))
    torch.testing.assert_close(found.teacher_logits, distiller.teacher.model(images))


def test_the_teacher_is_frozen_evaluated_and_not_saved():
    distiller = make()
    before = copy.deepcopy(distiller.teacher.model.state_dict())
    distiller.train()
    distiller(torch.randn(4, 3, 32, 32)).loss.backward()
    teacher = distiller.teacher.model
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert all(key.split(".")[0] in ("student", "loss") for key in distiller.state_dict())
    teachers = {id(p) for p in teacher.parameters()}
    assert not teachers & {id(p) for p in distiller.parameters()}


def test_probing_feature_sizes_leaves_the_student_as_it_was():
    student = small_resnet()
    before = copy.deepcopy(student.state_dict())
    distiller = vkd.Distiller(
        student, small_vit(), "layer4", "norm", example=torch.zeros(2, 3, 32, 32)
    )
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert (distiller.loss.projection.student_dim, distiller.loss.projection.teacher_dim) == (
        512,
        24,
    )


def test_copies_with_its_own_taps():
    distiller = make().eval()
    twin = copy.deepcopy(distiller)
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(twin(images).loss, distiller(images).loss)


def test_a_windowed_transformer_gives_nhwc_maps():
    teacher = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=64)
    images = torch.zeros(2, 3, 64, 64)
    student = small_resnet()
    distiller = vkd.Distiller(student, teacher, "layer4", "norm", example=images)
    assert distiller.loss.projection.teacher_dim == 768


def test_pooling_of_each_layout():
    maps = torch.randn(2, 5, 3, 3)
    expected = maps.flatten(2).mean(2)
    torch.testing.assert_close(pooling()(maps), expected)
    torch.testing.assert_close(pooling()(maps.permute(0, 2, 3, 1)), expected)
    torch.testing.assert_close(pooling()(maps.flatten(2).mT), expected)
    torch.testing.assert_close(pooling("NCHW")(torch.ones(2, 5, 3, 4)), torch.ones(2, 5))
    tokens = torch.randn(2, 6, 5)
    torch.testing.assert_close(pooling("auto", 1)(tokens), tokens.mean(1), atol=9, rtol=0)
    torch.testing.assert_close(pooling("NLC", 2)(tokens), tokens[:, 2:].mean(1))
    torch.testing.assert_close(pooling("token")(tokens), tokens[:, 0])
    with pytest.raises(ValueError, match=r"\(2, 5, 3, 4\).*pool="):
        pooling()(torch.ones(2, 5, 3, 4))
    with pytest.raises(ValueError, match="found 'NCWH'"):
        pooling("NCWH")


def test_a_wrong_layer_lists_the_closest_names():
    with pytest.raises(ValueError, match=r"no layer 'layr4'.*layer4"):
        make(teacher_layer="layr4")


def test_timm_configs_make_the_adapter():
    student = timm.create_model("vit_tiny_patch16_224")  # mean and deviation 0.5
    teacher = timm.create_model("resnet10t")  # ImageNet's
    distiller = vkd.Distiller(student, teacher, "norm", "layer4")
    ours, theirs = student.pretrained_cfg, teacher.pretrained_cfg
    assert ours["mean"] != theirs["mean"]
    white = torch.ones(1, 3, 224, 224)
    expected = (1 - torch.tensor(theirs["mean"])) / torch.tensor(theirs["std"])
    torch.testing.assert_close(distiller.teacher.adapter(white)[0, :, 0, 0], expected)


def test_features_may_come_from_a_store():
    stored = TeacherOutput({"a": torch.randn(10, 6)}, torch.randn(10, 7))

    def store(images, indices=None):
        indices = torch.arange(len(images)) if indices is None else indices
        return stored.each(lambda part: part[indices])

    student = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 7))
    distiller = vkd.Distiller(student, store, "1", example=torch.zeros(2, 3, 2, 2))
    found = distiller(torch.randn(3, 3, 2, 2), torch.tensor([7, 1, 2]))
    assert torch.equal(found.teacher_logits, stored.logits[[7, 1, 2]])


def test_a_memory_teacher_runs_once_over_the_images_and_equals_the_network():
    network = timm.create_model("resnet10t", num_classes=7).eval()
    images, calls = torch.randn(11, 3, 64, 64), []
    network.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    teacher = NetworkTeacher(network, "layer4")
    stored = MemoryTeacher(teacher, images, batch_size=4)
    for indices in (torch.tensor([10, 0, 0, 5]), torch.arange(11)):
        found, expected = stored(torch.full_like(images[indices], 99.0), indices), images[indices]
        torch.testing.assert_close(found, teacher(expected), rtol=1e-4, atol=1e-5)
    assert calls == [2, 4, 4, 3, 4, 11]
    with pytest.raises(ValueError, match="needs indices"):
        stored(images)


def test_a_memory_teachers_outputs_do_not_depend_on_the_first_call():
    teacher = NetworkTeacher(timm.create_model("resnet10t"), "layer4")
    images, batch = torch.randn(9, 3, 64, 64), torch.tensor([3, 8])
    first, second = MemoryTeacher(teacher, images, 4), MemoryTeacher(teacher, images, 4)
    second(images[:5], torch.arange(5))
    ours, theirs = first(images[batch], batch), second(images[batch], batch)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def mlp(seed=0, classes=7):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, classes)
    )


SMALL = torch.zeros(2, 3, 2, 2)


def pairwise_expected(distiller, images, pairs):
    """The weighted sum, pair by pair: (weight, name, student features, teacher features)."""
    losses = distiller.losses
    assert list(losses) == [name for _, name, _, _ in pairs]
    return sum(weight * losses[name](ours, theirs) for weight, name, ours, theirs in pairs)


def test_two_layers_are_the_weighted_sum_of_single_pairs():
    student, teacher, images = mlp(), mlp(1), torch.randn(4, 3, 2, 2)
    distiller = vkd.Distiller(
        student, teacher, layers={"1": "4", "3": "2"}, layer_weights={"3": 0.5}, example=SMALL
    )
    found = distiller(images)
    expected = pairwise_expected(
        distiller,
        images,
        [
            (1.0, "1 -> 4", student[:2](images), teacher[:5](images)),
            (0.5, "3 -> 2", student[:4](images), teacher[:3](images)),
        ],
    )
    torch.testing.assert_close(found.loss, expected)
    total = 0.0
    for layer, their, weight in (("1", "4", 1.0), ("3", "2", 0.5)):
        single = vkd.Distiller(student, mlp(1), layer, their, example=SMALL)
        single.loss.load_state_dict(distiller.losses[f"{layer} -> {their}"].state_dict())
        total = total + weight * single(images).loss
    torch.testing.assert_close(found.loss, total)
    found.loss.backward()
    assert all(p.grad is not None for p in distiller.loss.parameters())


def test_two_teachers_are_the_weighted_sum_of_both():
    student, images = mlp(), torch.randn(4, 3, 2, 2)
    first, second = mlp(1), mlp(2, classes=5)
    distiller = vkd.Distiller(
        student, [first, second], layers=[{"1": "2", "3": "4"}, {"3": "5"}],
        layer_weights={"3": 2.0}, teacher_weights=[0.5, 3.0], example=SMALL,
    )  # fmt: skip
    found = distiller(images)
    expected = pairwise_expected(
        distiller,
        images,
        [
            (0.5, "1 -> 0:2", student[:2](images), first[:3](images)),
            (1.0, "3 -> 0:4", student[:4](images), first[:5](images)),
            (6.0, "3 -> 1:5", student[:4](images), second(images)),
        ],
    )
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.teacher_logits, first(images))
    assert [teacher.model for teacher in distiller.teachers] == [first, second]
    one = vkd.Distiller(mlp(), [mlp(1), mlp(2)], "1", "2", example=SMALL)
    assert list(one.losses) == ["1 -> 0:2", "1 -> 1:2"]


def test_names_with_dots_are_keys_of_the_state():
    student = small_vit()
    layers = {"blocks.0": "layer2", "norm": "layer4"}
    distiller = vkd.Distiller(
        student, small_resnet(), layers=layers, example=torch.zeros(2, 3, 32, 32)
    )
    assert list(distiller.losses) == ["blocks.0 -> layer2", "norm -> layer4"]
    state = distiller.state_dict()
    assert "loss.blocks/0 -> layer2.projection.parameter" in state
    assert all(key.split(".")[0] in ("student", "loss") for key in state)
    distiller.load_state_dict(state)
    assert all(key.startswith(("student.", "loss.projection.")) for key in make().state_dict())


def test_a_single_pair_may_have_weights():
    student, images = mlp(), torch.randn(4, 3, 2, 2)
    distiller = vkd.Distiller(
        student, mlp(1), layers={"1": "4"}, layer_weights={"1": 0.25}, example=SMALL
    )
    teacher = distiller.teacher.model
    expected = 0.25 * distiller.loss(student[:2](images), teacher[:5](images))
    torch.testing.assert_close(distiller(images).loss, expected)


def test_the_output_of_a_teacher_is_its_layer_by_default():
    distiller = vkd.Distiller(mlp(), mlp(1), "3", example=SMALL)
    images = torch.randn(4, 3, 2, 2)
    found = distiller(images)
    expected = distiller.loss(distiller.student[:4](images), found.teacher_logits)
    torch.testing.assert_close(found.loss, expected)


class Text(nn.Module):
    """A toy model of text that returns a dict."""

    def __init__(self, dim):
        super().__init__()
        self.table, self.head = nn.Embedding(11, dim), nn.Linear(dim, 3)

    def forward(self, input_ids, attention_mask=None):
        hidden = self.table(input_ids)
        if attention_mask is not None:
            hidden = hidden * attention_mask[..., None]
        return {"last_hidden_state": hidden, "logits": self.head(hidden.mean(1))}


def test_models_of_text_take_inputs_by_keyword():
    ids = torch.randint(11, (4, 5))
    batch = {"input_ids": ids, "attention_mask": (ids > 2).float()}
    student, teacher = Text(4), Text(6)
    for example in (batch, tuple(batch.values()), ids):
        distiller = vkd.Distiller(student, teacher, "", "", example=example)
        found = distiller(**batch)
        ours, theirs = (m(**batch)["last_hidden_state"].mean(1) for m in (student, teacher))
        torch.testing.assert_close(found.loss, distiller.loss(ours, theirs))
        torch.testing.assert_close(found.teacher_logits, teacher(**batch)["logits"])
        for inputs in (batch, tuple(batch.values())):
            torch.testing.assert_close(distiller(inputs).loss, found.loss)
        with pytest.raises(ValueError, match="found both"):
            distiller(ids, attention_mask=batch["attention_mask"])
        with pytest.raises(ValueError, match="found neither"):
            distiller()
    with pytest.raises(ValueError, match=r"example must be given.*\(2, 3, 224, 224\)"):
        vkd.Distiller(Text(4), teacher, "", "")


def test_keyword_inputs_make_no_adapter():
    student = timm.create_model("vit_tiny_patch16_224")
    teacher = timm.create_model("resnet10t")
    images = torch.zeros(1, 3, 224, 224)
    distiller = vkd.Distiller(student, teacher, "norm", "layer4", example={"x": images})
    assert isinstance(distiller.teacher.adapter, nn.Identity)
    assert distiller(x=images).loss.isfinite()


def traced(model):
    return torch.export.export(model, (torch.randn(3, 3, 2, 2),)).module()


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        torch.jit.script,
        traced,
        lambda model: timm.utils.ModelEmaV3(model).module,
    ],
)
def test_after_close_the_student_is_as_it_was(copied):
    student, teacher, images = mlp(), mlp(1), torch.randn(3, 3, 2, 2)
    with vkd.Distiller(student, teacher, layers={"1": "4", "": "2"}, example=SMALL) as distiller:
        distiller(images).loss.backward()
        student(images)  # whatever a tap still holds must go, too
    for module in (*student.modules(), *teacher.modules()):
        assert not module._forward_hooks
    twin = copied(student)
    torch.testing.assert_close(twin(images), student(images))
    with pytest.raises(RuntimeError, match="closed"):
        distiller(images)


def test_a_copy_closes_its_own_taps():
    distiller = vkd.Distiller(mlp(), mlp(1), "1", "4", example=SMALL)
    twin = copy.deepcopy(distiller)
    twin.close()
    assert not any(module._forward_hooks for module in twin.student.modules())
    assert not any(module._forward_hooks for module in twin.teacher.model.modules())
    assert distiller(torch.randn(3, 3, 2, 2)).loss.isfinite()


def test_a_frozen_part_of_the_student_stays_in_its_mode():
    student = small_resnet().train()
    student.bn1.eval()
    vkd.Distiller(student, small_vit(), "layer4", "norm", example=torch.zeros(2, 3, 32, 32))
    assert student.training
    assert not student.bn1.training


def test_stored_teachers_are_not_run_for_their_widths():
    calls = []

    class Stored:
        widths, num_classes = {"a": 4}, None

        def __call__(self, images, indices=None):
            calls.append(indices)
            return TeacherOutput({"a": torch.randn(len(images), 4)})

    distiller = vkd.Distiller(mlp(), Stored(), "1", example=SMALL)
    assert calls == []
    assert distiller.loss.projection.teacher_dim == 4
    found = distiller(SMALL, indices=torch.arange(2))
    assert found.teacher_logits is None
    assert len(calls) == 1


def shared():
    student = mlp()
    return student, nn.Sequential(nn.Flatten(), student[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vkd.Distiller(*[mlp()] * 2, "1", "2", example=SMALL), "must not share parameters"),
        (lambda: vkd.Distiller(*shared(), "1", "", example=SMALL), "must not share parameters"),
        (lambda: vkd.Distiller(mlp(), mlp(), example=SMALL), "student_layer=None.*no layers"),
        (
            lambda: vkd.Distiller(mlp(), mlp(), "1", layers={"1": "2"}, example=SMALL),
            "either student_layer.*or layers",
        ),
        (lambda: vkd.Distiller(mlp(), mlp(), layers={}, example=SMALL), "empty dict"),
        (lambda: vkd.Distiller(mlp(), [], "1", example=SMALL), "list of these, found none"),
        (
            lambda: vkd.Distiller(mlp(), [mlp(), mlp()], layers=[{"1": "2"}], example=SMALL),
            "each of 2 teachers, found 1",
        ),
        (
            lambda: vkd.Distiller(mlp(), mlp(), "1", "2", layer_weights={"7": 1}, example=SMALL),
            "student's layers 1, found '7'",
        ),
        (
            lambda: vkd.Distiller(mlp(), mlp(), "1", "2", layer_weights={"1": -1}, example=SMALL),
            "layer_weights must be finite and 0 or above, found -1",
        ),
        (
            lambda: vkd.Distiller(mlp(), mlp(), "1", "2", teacher_weights=[1, 2], example=SMALL),
            "each of 1 teachers, found 2",
        ),
        (
            lambda: vkd.Distiller(
                mlp(), NetworkTeacher(mlp(), ["1", "2"]), "1", "5", example=SMALL
            ),
            "Teacher 0 has no layer '5'; its layers are: '1', '2'",
        ),
        (lambda: vkd.Distiller(mlp(), mlp(), "1", "22", example=SMALL), "no layer '22'"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert len(str(error.value)) <= 300


def test_a_distiller_that_cannot_be_made_leaves_no_taps():
    student, teacher = mlp(), mlp(1)
    for layers in ({"1": "2", "77": "2"}, {"1": "99"}):
        with pytest.raises(ValueError, match="no layer"):
            vkd.Distiller(student, teacher, layers=layers, example=SMALL)
    for module in (*student.modules(), *teacher.modules()):
        assert not module._forward_hooks


def test_a_hugging_face_model_of_text_learns():
    transformers = pytest.importorskip("transformers")

    def bert(width):
        config = transformers.BertConfig(
            hidden_size=width, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, vocab_size=30,
        )  # fmt: skip
        return transformers.BertModel(config)

    ids = torch.randint(30, (3, 6))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    distiller = vkd.Distiller(bert(8), bert(16), "encoder", "encoder", example=batch)
    found = distiller(**batch)
    assert found.loss.isfinite()
    assert found.teacher_logits is None


def test_the_teacher_runs_before_the_student():
    order = []
    student, teacher = nn.Linear(4, 6), nn.Linear(4, 8)
    distiller = vkd.Distiller(
        student, teacher, student_layer="", teacher_layer="", example=torch.randn(2, 4)
    )
    student.register_forward_hook(lambda *_: order.append("student"))
    teacher.register_forward_hook(lambda *_: order.append("teacher"))
    distiller(torch.randn(5, 4))
    assert order == ["teacher", "student"]


def test_features_are_compared_after_somebody_elses_forward_pass():
    distiller, images = make(), torch.randn(4, 3, 32, 32)
    distiller.eval()
    expected = distiller(images).loss
    distiller.student(images)
    torch.testing.assert_close(distiller.compare(images), expected)
    with pytest.raises(RuntimeError, match="'norm' did not run"):
        distiller.compare(images)
    with torch.no_grad():
        distiller.student(images)
    with pytest.raises(ValueError, match="'norm' have no gradient"):
        distiller.compare(images)
    distiller.close()
    with pytest.raises(RuntimeError, match="closed"):
        distiller.compare(images)


def test_dense_features_are_compared_place_by_place():
    images = torch.randn(2, 3, 32, 32)
    student = small_vit()
    distiller = vkd.Distiller(
        student, small_vit(), "norm", "blocks.0", pool="dense", example=images
    ).eval()
    ours = student.forward_features(images)[:, 1:].reshape(32, 24)
    teacher = distiller.teacher.model
    theirs = teacher.blocks[0](teacher._pos_embed(teacher.patch_embed(images)))[:, 1:]
    expected = distiller.loss(ours, theirs.reshape(32, 24))
    torch.testing.assert_close(distiller(images).loss, expected)


def test_grids_that_differ_are_told_in_a_sentence():
    images = torch.randn(2, 3, 32, 32)
    distiller = vkd.Distiller(
        small_vit(), small_resnet(), "norm", "layer3", pool="dense", example=images
    )
    with pytest.raises(ValueError, match=r"'norm' gives 32 rows.*'layer3' 8; dense") as error:
        distiller(images)
    assert len(str(error.value)) <= 300


def test_a_detector_takes_lists_of_images_and_targets():
    detectors = pytest.importorskip("torchvision.models.detection")
    small = {"weights_backbone": None, "num_classes": 2, "min_size": 64, "max_size": 64}
    student, teacher = (detectors.fasterrcnn_mobilenet_v3_large_fpn(**small) for _ in range(2))
    box = {"boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0]]), "labels": torch.tensor([1])}
    batch = [torch.rand(3, 64, 64), torch.rand(3, 64, 48)], [box, box]
    distiller = vkd.Distiller(student, teacher, "backbone.body:1", "backbone.body:1", example=batch)
    found = distiller(batch)
    assert {"loss_classifier", "loss_box_reg"} <= found.output.keys()
    assert found.teacher_logits is None
    found.loss.backward()
    assert next(student.backbone.parameters()).grad.abs().sum() > 0
    assert len(student.eval()(batch[0])) == 2
