"""Batch normalisation behind a convolution, made part of it.

What the ONNX exporter does for the other engines, for torch on a GPU. There it is no pass less over
the maps: torch adds the bias behind a cuDNN convolution in a kernel of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_norms(network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Folds every batch normalisation of which one convolution's answer is the input.

    Which ones are is found by running the network, however its modules are written. Nothing else
    may read such an answer, as nothing does in the networks of this project.

    Args:
        network: in evaluation mode; it is changed in place, and gives what it gave before but for
            rounding. What this run does not reach stays as it is.
        inputs: to run it once.

    Returns:
        How many were folded.
    """
    convolutions: dict[int, nn.Conv2d] = {}
    answers: list[Tensor] = []  # kept, so that no two have the same id
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    runs: Counter[nn.Module] = Counter()

    def answered(module: nn.Module, _: object, answer: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        runs[module] += 1
        convolutions[id(answer)] = module
        answers.append(answer)

    def reads(module: nn.Module, given: tuple[object, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        runs[module] += 1
        if id(given[0]) in convolutions:
            pairs[module] = convolutions[id(given[0])]

    hooks = [
        module.register_forward_hook(answered)
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(reads)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    # What is shared by several places fits only one of them.
    pairs = {norm: conv for norm, conv in pairs.items() if runs[norm] == runs[conv] == 1}
    for norm, convolution in pairs.items():
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if child in pairs:
                setattr(parent, name, nn.Identity())
    return len(pairs)
