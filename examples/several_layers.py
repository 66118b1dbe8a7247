"""Several layers: early ones of the student learn from early ones of the teacher."""

import timm
import torch

import vkd

torch.manual_seed(0)
student = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, embed_dim=48, num_heads=3)
teacher = timm.create_model("resnet10t")  # pretrained=True in real life
images = torch.randn(8, 3, 64, 64)

distiller = vkd.Distiller(
    student,
    teacher,
    layers={"blocks.0": "layer2", "blocks.1": "layer3", "norm": "layer4"},
    layer_weights={"blocks.0": 0.5},
    example=images[:2],
)
optimizer = torch.optim.AdamW(distiller.parameters(), lr=2e-3)

# Each pair has a loss of its own, which a hook can watch.
values: dict[str, list[float]] = {name: [] for name in distiller.losses}
for name, loss in distiller.losses.items():
    loss.register_forward_hook(lambda _, __, value, name=name: values[name].append(value.item()))

history = []
for _ in range(20):
    total = distiller(images).loss
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    history.append(total.item())

print(f"loss: {history[0]:.3f} -> {history[-1]:.3f}")
for name, found in values.items():
    print(f"{name}: {found[0]:.3f} -> {found[-1]:.3f}")
