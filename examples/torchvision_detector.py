"""torchvision: a detector, called with lists of images and targets, learns from a larger one."""

import torch
from torchvision.models.detection import (
    fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnet50_fpn,
)

import vkd
from vkd.features import dense

torch.manual_seed(0)
sizes = {"min_size": 128, "max_size": 128, "num_classes": 2, "weights_backbone": None}
few = {"rpn_post_nms_top_n_train": 50, "box_batch_size_per_image": 32}
student = fasterrcnn_mobilenet_v3_large_fpn(**sizes, **few)
teacher = fasterrcnn_resnet50_fpn(**sizes, rpn_post_nms_top_n_test=20)  # weights="DEFAULT"

# Dark pictures with a bright square.
images, targets = [], []
for left in (10, 30, 50):
    image = 0.2 * torch.rand(3, 96, 128)
    image[:, 20:60, left : left + 40] += 0.8
    box = torch.tensor([[left, 20.0, left + 40, 60.0]])
    images.append(image)
    targets.append({"boxes": box, "labels": torch.tensor([1])})

# The bodies give maps by key; those of a 32nd of the image's size are compared place by place.
distiller = vkd.Distiller(
    student,
    teacher,
    student_layer="backbone.body:1",
    teacher_layer="backbone.body:3",
    pool=dense("NCHW"),
    example=(images, targets),
)
optimizer = torch.optim.AdamW(distiller.parameters(), lr=1e-3)

history = []
for _ in range(6):
    losses, distillation_loss, _ = distiller((images, targets))
    loss = sum(losses.values()) + distillation_loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append((loss.item(), distillation_loss.item()))

print(f"loss: {history[0][0]:.3f} -> {history[-1][0]:.3f}")
print(f"distillation: {history[0][1]:.3f} -> {history[-1][1]:.3f}")
print(f"in evaluation the student returns {', '.join(student.eval()(images)[0])}")
