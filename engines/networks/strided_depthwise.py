"""Depthwise convolutions whose gradients are quick on a CPU, whatever their stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution with a stride, with the parameters and the answers of `nn.Conv2d`.

    oneDNN has no quick backward pass for it: one of these costs more than all others of its
    stage together. So training on a CPU convolves at every place and keeps what the stride
    asks for, three to six times as fast there and back. Evaluation and export are as usual.

    Args:
        channels: In and out.
        kernel: Size of the kernel, odd.
        stride: Of the answers.
        bias: Whether to add one.
    """

    def __init__(self, channels: int, kernel: int, stride: int, bias: bool = False) -> None:
        super().__init__(
            channels, channels, kernel, stride, kernel // 2, groups=channels, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if not self.training or x.device.type != "cpu":
            answer: Tensor = super().forward(x)
            return answer
        rows, columns = self.stride
        everywhere = functional.conv2d(x, self.weight, self.bias, 1, self.padding, 1, self.groups)
        # Batch normalisation is several times slower on a view that skips places.
        return everywhere[:, :, ::rows, ::columns].contiguous(memory_format=torch.channels_last)


def depthwise_convolution(
    channels: int, kernel: int = 3, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A depthwise convolution with as much padding as half its (odd) kernel.

    Args:
        channels: In and out.
        kernel: Size of the kernel.
        stride: Of the answers.
        bias: Whether to add one.
    """
    if stride > 1:
        return StridedDepthwise(channels, kernel, stride, bias)
    return nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=bias)
