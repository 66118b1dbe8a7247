"""The task for timm's loop, beside timm's own."""

import copy

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.task import FeatureDistillationTask, resume_task_checkpoint
from timm.task.task import TrainingTask
from timm.utils import CheckpointSaver
from torch import nn

import vkd
from vkd.integrations.timm import VkDTask

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])
CRITERION = nn.CrossEntropyLoss()


def networks():
    torch.manual_seed(0)
    small = {"img_size": 64, "depth": 1, "embed_dim": 24, "num_heads": 2}
    student = timm.create_model("vit_tiny_patch16_224", num_classes=7, **small)
    return student, timm.create_model("resnet10t", num_classes=7)


def task_of(**options):
    student, teacher = networks()
    task = VkDTask(student, teacher, criterion=CRITERION, **options)
    return task.train()


def test_with_its_settings_it_equals_timms_own_task():
    weights = {"distill_loss_weight": 5.0, "task_loss_weight": 0.5, "criterion": CRITERION}
    theirs = FeatureDistillationTask(*networks(), **weights).train()
    linear = copy.deepcopy(theirs.trainable_module.projection)
    ours = VkDTask(*networks(), lambda *_: vkd.FeatureLoss(linear, "identity", "mse"), **weights)
    found, expected = ours.train()(IMAGES, LABELS), theirs(IMAGES, LABELS)
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found, expected)
    found["loss"].backward()
    expected["loss"].backward()
    for (name, mine), (other, their) in zip(
        ours.trainable_module.named_parameters(),
        theirs.trainable_module.named_parameters(),
        strict=True,
    ):
        assert name == other
        torch.testing.assert_close(mine.grad, their.grad)


def test_labels_are_learnt_as_in_timms_task_and_features_by_vkd():
    torch.manual_seed(1)
    ours, theirs = task_of(), FeatureDistillationTask(*networks(), criterion=CRITERION).train()
    found, expected = ours(IMAGES, LABELS), theirs(IMAGES, LABELS)
    for name in ("output", "task_loss"):
        torch.testing.assert_close(found[name], expected[name])
    student, teacher = ours.trainable_module.student, ours.teacher.model
    mean, std = (torch.tensor(teacher.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    features = student.forward_head(student.forward_features(IMAGES), pre_logits=True)
    seen = (IMAGES * 0.5 + 0.5 - mean) / std  # a ViT's images have mean and deviation 0.5
    target = teacher.forward_head(teacher.forward_features(seen), pre_logits=True)
    loss = vkd.VkDLoss(24, 512)
    loss.projection.load_state_dict(ours.trainable_module.projection.state_dict())
    torch.testing.assert_close(found["kd_loss"], loss(features, target))
    torch.testing.assert_close(found["loss"], found["task_loss"] + found["kd_loss"])


def test_the_teacher_is_frozen_and_the_projection_trains_without_decay():
    task = task_of()
    assert isinstance(task, TrainingTask)
    assert not any(parameter.requires_grad for parameter in task.teacher.parameters())
    assert not task.teacher.model.training
    trainable = task.get_trainable_module()
    groups = create_optimizer_v2(trainable, opt="adamw", weight_decay=0.1).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed
    assert id(trainable.projection.parameter) not in decayed
    task(IMAGES, LABELS)["loss"].backward()
    assert trainable.projection.parameter.grad.abs().sum() > 0
    assert any(p is trainable.projection.parameter for p in task.get_clip_parameters())


def trained(task, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        task(IMAGES, LABELS)["loss"].backward()
        optimizer.step()
        task.update_ema()


def test_timms_checkpoint_holds_the_student_and_resumes(tmp_path):
    task = task_of()
    task.setup_ema(decay=0.5)
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="adamw", lr=1e-3)
    trained(task, optimizer, 2)
    saver = CheckpointSaver(
        task.get_eval_model(), optimizer, task=task, checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(3, metric=1.0)
    file = str(tmp_path / "last.pth.tar")
    saved = torch.load(file, weights_only=True)
    student = timm.create_model(
        "vit_tiny_patch16_224", num_classes=7, img_size=64, depth=1, embed_dim=24, num_heads=2
    )
    student.load_state_dict(saved["state_dict"])
    assert saved["task_state"]["projection"].keys() == {"parameter"}
    trained(task, optimizer, 2)

    again = task_of()
    again.setup_ema(decay=0.5)
    second = create_optimizer_v2(again.get_trainable_module(), opt="adamw", lr=1e-3)
    assert resume_task_checkpoint(again, file, second, log_info=False) == 4
    trained(again, second, 2)
    torch.testing.assert_close(
        again.get_trainable_module().state_dict(),
        task.get_trainable_module().state_dict(),
        rtol=0,
        atol=0,
    )
    assert again.get_checkpoint_state(ema=True)["task_state_ema"]["projection"]


def test_it_compiles_as_timms_task_does():
    task, plain = task_of(), task_of()
    plain.load_state_dict(task.state_dict())
    task.compile(backend="eager")
    torch.testing.assert_close(task(IMAGES, LABELS), plain(IMAGES, LABELS))


def plain(*parts):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 7))
    for part in parts:
        setattr(network, part, 7)
    return network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VkDTask(plain(), networks()[1]), "student_model must be.*no pretrained_cfg"),
        (lambda: VkDTask(networks()[0], plain()), "teacher_model must be.*no forward_features"),
    ],
)
def test_models_that_are_not_timms_are_refused(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert len(str(error.value)) < 300
