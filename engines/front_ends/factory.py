"""Makes the 2D front end that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from engines.backends.select import EngineName
from engines.errors import UserError
from engines.front_ends.base import FrontEnd
from engines.model_files import SHIPPED_FOLDER, Precision, check_shipped, find_model

FrontEndKind = Literal["blazepose", "yolo_cpn"]

SHIPPED: Final = "shipped"
"""In place of a network's name: the one that ships with the project."""

_ROLES: Final = ("detector", "pose2d")


def make_front_end(
    kind: FrontEndKind,
    views: int,
    engine: EngineName,
    threads: int,
    networks: tuple[str, str] = (SHIPPED, SHIPPED),
    context: bool = True,
    precision: Precision = "fp32",
    flip_test: bool | None = None,
) -> FrontEnd:
    """Loads a front end's networks.

    Args:
        kind: which one.
        views: number of cameras.
        engine: what runs its networks, where it has a choice.
        threads: CPU threads that it may keep busy.
        networks: detector and pose network of ``yolo_cpn``, as ``network_file`` takes them.
        context: whether image context is wanted, where the front end has it.
        precision: of its networks' inside on a GPU.
        flip_test: of ``yolo_cpn``; see ``YoloCpnSettings``.

    Raises:
        UserError: its weights or its engine are missing.
    """
    if kind == "blazepose":
        from engines.front_ends.blazepose import BlazePoseFrontEnd

        return BlazePoseFrontEnd(views, threads)
    from engines.front_ends.yolo_cpn.front_end import open_yolo_cpn
    from engines.front_ends.yolo_cpn.settings import YoloCpnSettings

    detector, pose = (network_file(n, r) for n, r in zip(networks, _ROLES, strict=True))
    settings = YoloCpnSettings(context="sampled" if context else "none", flip_test=flip_test)
    return open_yolo_cpn(views, detector, pose, engine, threads, settings, precision)


def network_file(name: str, role: str) -> Path:
    """The file of a network of the ``yolo_cpn`` front end.

    Args:
        name: ``shipped``, a name that ``engines.model_files.find_model`` knows, or a path.
        role: ``detector`` or ``pose2d``.

    Raises:
        UserError: there is no such file, or a shipped one is not what its description says.
    """
    if name != SHIPPED:
        return find_model(name)
    path = SHIPPED_FOLDER / f"{role}.onnx"
    if not path.is_file():
        raise UserError(
            f"front end yolo_cpn: {path} is not in this checkout; name other networks "
            "(front_end.detector and front_end.pose, see python -m tools.weights list) "
            "or use front_end.kind blazepose"
        )
    check_shipped(path)
    return path
