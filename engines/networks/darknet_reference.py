"""The cfg texts of YOLOv3 and YOLOv3-tiny, so that their ``.weights`` files are all one needs.

Structure: Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018, table 1 and section 2.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_ANCHORS: Final = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
_TINY_ANCHORS: Final = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"


def yolov3_cfg(size: int = 416, classes: int = 80) -> str:
    """The text of YOLOv3's cfg for square inputs of ``size`` pixels (a multiple of 32)."""
    lines = _net(size)
    lines += _convolution(32, 3)
    # Darknet-53: each stage halves the picture and adds residual pairs.
    for filters, repeats in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        lines += _convolution(filters, 3, stride=2)
        for _ in range(repeats):
            lines += _convolution(filters // 2, 1) + _convolution(filters, 3)
            lines += ["[shortcut]", "from=-3", "activation=linear"]
    for filters, mask, skip in ((512, "6,7,8", 61), (256, "3,4,5", 36), (128, "0,1,2", None)):
        for _ in range(3):
            lines += _convolution(filters, 1) + _convolution(2 * filters, 3)
        lines += _head(3, classes, mask, _ANCHORS)
        if skip is not None:
            lines += ["[route]", "layers=-4", *_convolution(filters // 2, 1)]
            lines += ["[upsample]", "stride=2", "[route]", f"layers=-1,{skip}"]
    return "\n".join(lines) + "\n"


def yolov3_tiny_cfg(size: int = 416, classes: int = 80) -> str:
    """The text of YOLOv3-tiny's cfg for square inputs of ``size`` pixels (a multiple of 32)."""
    lines = _net(size)
    for filters in (16, 32, 64, 128, 256):
        lines += [*_convolution(filters, 3), "[maxpool]", "size=2", "stride=2"]
    lines += [*_convolution(512, 3), "[maxpool]", "size=2", "stride=1"]
    lines += _convolution(1024, 3) + _convolution(256, 1) + _convolution(512, 3)
    lines += _head(3, classes, "3,4,5", _TINY_ANCHORS)
    lines += ["[route]", "layers=-4", *_convolution(128, 1)]
    lines += ["[upsample]", "stride=2", "[route]", "layers=-1,8", *_convolution(256, 3)]
    # The released network's second head uses anchors 1, 2 and 3; anchor 0 is never used.
    lines += _head(3, classes, "1,2,3", _TINY_ANCHORS)
    return "\n".join(lines) + "\n"


def _net(size: int) -> list[str]:
    return ["[net]", f"width={size}", f"height={size}", "channels=3"]


def _convolution(filters: int, size: int, stride: int = 1) -> list[str]:
    return [
        "[convolutional]",
        "batch_normalize=1",
        f"filters={filters}",
        f"size={size}",
        f"stride={stride}",
        "pad=1",
        "activation=leaky",
    ]


def _head(anchors: int, classes: int, mask: str, all_anchors: str) -> Iterable[str]:
    return [
        "[convolutional]",
        f"filters={anchors * (5 + classes)}",
        "size=1",
        "stride=1",
        "pad=1",
        "activation=linear",
        "[yolo]",
        f"mask={mask}",
        f"anchors={all_anchors}",
        f"classes={classes}",
    ]
