"""Two teachers: a convolutional one and a transformer teach one student, by weight."""

import timm
import torch

import vkd

torch.manual_seed(0)
student = timm.create_model("mobilenetv4_conv_small_035", num_classes=0)
teachers = [  # pretrained=True in real life
    timm.create_model("resnet10t"),
    timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2),
]
images = torch.randn(8, 3, 64, 64)

# `vkd layers NAME` lists what can be tapped; one dict for each teacher.
distiller = vkd.Distiller(
    student,
    teachers,
    layers=[{"conv_head": "layer4"}, {"conv_head": "norm"}],
    teacher_weights=[1.0, 0.5],
    example=images[:2],
)
optimizer = torch.optim.AdamW(distiller.parameters(), lr=2e-3)

history = []
for _ in range(12):
    loss = distiller(images).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())

print(f"loss: {history[0]:.3f} -> {history[-1]:.3f}")
for name, part in distiller.losses.items():
    projection = part.projection
    print(f"{name}: {projection.student_dim} -> {projection.teacher_dim} features")
