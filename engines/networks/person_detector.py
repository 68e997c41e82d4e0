"""A Darknet network as a person detector: boxes and scores instead of raw maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from engines.networks.darknet import Darknet
from engines.networks.darknet_plan import YoloHead
from engines.networks.engine_network import VIEWS, EngineNetwork, NetworkInfo, Port


class PersonDetector(EngineNetwork):
    """Decodes a Darknet network's heads for one class.

    Decoding (YOLOv3, Redmon and Farhadi 2018, section 2.1): centre = (cell + σ(t))·stride,
    size = anchor·exp(t), score = σ(objectness)·σ(class).

    Args:
        network: the network.
        height: of the pictures in pixels.
        width: of the pictures in pixels.
        options: what ``NetworkInfo.options`` shall say.
        person_class: which class is the person; 0 in COCO.
    """

    def __init__(
        self,
        network: Darknet,
        height: int,
        width: int,
        options: Mapping[str, object],
        person_class: int = 0,
    ) -> None:
        super().__init__()
        self.inner = network
        self._person_class = person_class
        with torch.no_grad():
            sizes = [map_.shape[2:] for map_ in _meta_heads(network, height, width)]
        count = sum(len(h.anchors) * s[0] * s[1] for h, s in zip(network.heads, sizes, strict=True))
        for index, (head, (rows, columns)) in enumerate(zip(network.heads, sizes, strict=True)):
            cells, anchors, strides = _grid(head, rows, columns, height, width)
            # Constants of the graph, no weights: kept out of the state dictionary.
            self.register_buffer(f"cells{index}", cells, persistent=False)
            self.register_buffer(f"anchors{index}", anchors, persistent=False)
            self.register_buffer(f"strides{index}", strides, persistent=False)
        self.info = NetworkInfo(
            network="darknet",
            options=options,
            kind="detector",
            inputs=(Port("images", (VIEWS, 3, height, width)),),
            outputs=(Port("boxes", (VIEWS, count, 4)), Port("scores", (VIEWS, count))),
            facts={"class": "person"},
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Finds people.

        Args:
            *inputs: images (B, 3, H, W) RGB 0…1.

        Returns:
            Boxes (B, N, 4): centre x, y, width, height in input pixels; scores (B, N), 0…1.
        """
        heads = cast(Darknet, self.inner).heads
        boxes: list[Tensor] = []
        scores: list[Tensor] = []
        for index, (head, raw) in enumerate(zip(heads, self.inner(inputs[0]), strict=True)):
            anchors = len(head.anchors)
            rows, columns = raw.shape[2:]
            raw = raw.reshape(-1, anchors, 5 + head.classes, rows * columns)
            chosen = raw[:, :, 5 + self._person_class]
            # (B, anchors, 5, cells) -> rows in the order cell, anchor, as Darknet lists them
            raw = raw[:, :, :5].permute(0, 3, 1, 2).reshape(-1, rows * columns * anchors, 5)
            chosen = chosen.permute(0, 2, 1).reshape(-1, rows * columns * anchors)
            shift = torch.sigmoid(raw[..., :2]) * head.scale_xy - (head.scale_xy - 1) / 2
            centres = (shift + self.get_buffer(f"cells{index}")) * self.get_buffer(
                f"strides{index}"
            )
            sizes = torch.exp(raw[..., 2:4]) * self.get_buffer(f"anchors{index}")
            boxes.append(torch.cat((centres, sizes), 2))
            scores.append(torch.sigmoid(raw[..., 4]) * torch.sigmoid(chosen))
        return torch.cat(boxes, 1), torch.cat(scores, 1)


def _meta_heads(network: Darknet, height: int, width: int) -> tuple[Tensor, ...]:
    """The sizes of the heads' maps, found without computing anything."""
    with torch.device("meta"):
        twin = Darknet(network.config)
        heads: tuple[Tensor, ...] = twin(torch.empty(1, network.config.channels, height, width))
    return heads


def _grid(
    head: YoloHead, rows: int, columns: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cell corners (N, 2), anchor sizes (N, 2) and the stride (2,) of one head, x before y."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    cells = torch.stack((x, y), -1).reshape(-1, 1, 2).float()
    anchors = torch.tensor(head.anchors).reshape(1, -1, 2)
    shape = (rows * columns, len(head.anchors), 2)
    strides = torch.tensor([width / columns, height / rows])
    return cells.expand(shape).reshape(-1, 2), anchors.expand(shape).reshape(-1, 2), strides
