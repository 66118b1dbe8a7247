"""A convolutional patch embedding for timm's vision transformers."""

from typing import Any

from torch import Tensor, nn


class ConvStem(nn.Module):
    """Convolutions with BatchNorm and ReLU, then a convolution that does not overlap.

    Args:
        img_size: side of the square images.
        patch_size: pixels of a token's side in the image.
        in_chans: channels of the images.
        embed_dim: width of the tokens.
        bias: of the last convolution.
        width: channels between; half of ``embed_dim`` when 0.
        kernel, stride: of the first convolution; later ones are 3x3 with stride 1.
        depth: convolutions before the last.

    Source: with width 64, kernel 7, stride 2, depth 3, the stem of the paper's DeiT students.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int],
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        bias: bool = True,
        width: int = 0,
        kernel: int = 3,
        stride: int = 1,
        depth: int = 1,
        **_: Any,
    ) -> None:
        super().__init__()
        height, wide = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.img_size = (height, wide)
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (height // patch_size, wide // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        width = width or embed_dim // 2
        layers: list[nn.Module] = []
        for index in range(depth):
            layers += [
                nn.Conv2d(
                    width if index else in_chans,
                    width,
                    3 if index else kernel,
                    stride=1 if index else stride,
                    padding=1 if index else kernel // 2,
                    bias=False,
                ),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.conv = nn.Sequential(*layers)
        last = patch_size // stride
        self.proj = nn.Conv2d(width, embed_dim, last, stride=last, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to tokens (N, L, embed_dim).

        Raises:
            ValueError: if the images do not have the size that the stem was built for.
        """
        if images.shape[-2:] != self.img_size:
            raise ValueError(
                f"The model takes images of {self.img_size}, found {tuple(images.shape[-2:])}."
            )
        return self.proj(self.conv(images)).flatten(2).transpose(1, 2)
