"""Distiller on real networks of timm: convolutional, windowed and plain transformers."""

import copy

import pytest
import timm
import torch
from torch import nn

import vkd
from vkd.features import pooling
from vkd.teacher import InputAdapter, MemoryTeacher, NetworkTeacher, TeacherOutput


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


def test_input_adapter_renormalises_and_resizes():
    raw = torch.rand(2, 3, 32, 32)
    ours, theirs = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    def normalise(images, stats):
        mean, deviation = (torch.tensor(values)[:, None, None] for values in stats)
        return (images - mean) / deviation

    adapted = InputAdapter(ours, theirs)(normalise(raw, ours))
    torch.testing.assert_close(adapted, normalise(raw, theirs))
    assert InputAdapter(size=(48, 40))(raw).shape == (2, 3, 48, 40)


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
    stored = TeacherOutput(torch.randn(10, 6), torch.randn(10, 7))

    def store(images, indices=None):
        indices = torch.arange(len(images)) if indices is None else indices
        return TeacherOutput(stored.features[indices], stored.logits[indices])

    student = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 7))
    distiller = vkd.Distiller(student, store, "1", example=torch.zeros(2, 3, 2, 2))
    found = distiller(torch.randn(3, 3, 2, 2), torch.tensor([7, 1, 2]))
    assert torch.equal(found.teacher_logits, stored.logits[[7, 1, 2]])


def test_a_stored_teacher_runs_once_over_the_images_and_answers_as_the_network():
    network = timm.create_model("resnet10t", num_classes=7).eval()
    images, calls = torch.randn(11, 3, 64, 64), []
    network.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    teacher = NetworkTeacher(network, "layer4")
    stored = MemoryTeacher(teacher, images, batch_size=4)
    for indices in (torch.tensor([10, 0, 0, 5]), torch.arange(11)):
        found, expected = stored(torch.full_like(images[indices], 99.0), indices), images[indices]
        torch.testing.assert_close(found, teacher(expected), rtol=1e-4, atol=1e-5)
    assert calls == [4, 4, 3, 4, 11]
    torch.testing.assert_close(stored(images), teacher(images))


def test_a_stored_teacher_answers_equally_whatever_is_asked_first():
    teacher = NetworkTeacher(timm.create_model("resnet10t"), "layer4")
    images, batch = torch.randn(9, 3, 64, 64), torch.tensor([3, 8])
    first, second = MemoryTeacher(teacher, images, 4), MemoryTeacher(teacher, images, 4)
    second(images[:5], torch.arange(5))
    for ours, theirs in zip(first(images[batch], batch), second(images[batch], batch), strict=True):
        assert torch.equal(ours, theirs)
