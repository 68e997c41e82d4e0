"""The 3D scene, drawn by Open3D's classic ``Visualizer`` into a picture.

The same hidden visualizer serves the window and the video: with a display it has a hidden GLFW
window, without one Open3D 0.20 takes EGL. Geometry is added once and then changed in place:
adding and removing it for each frame leaks (Open3D issues 7250, 4332).
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import UserError
from engines.skeleton import JOINT_COUNT
from viz import floor, room
from viz.body_mesh import BodyMesh, Floats
from viz.orbit_camera import View, intrinsic
from viz.palette import BACKGROUND, SHADOW

Image = npt.NDArray[np.uint8]

_NEAR_M: Final = 0.1
_FAR_M: Final = 60.0
_EDGE: Final = 9  # grey levels
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


@dataclass(frozen=True, slots=True)
class Body:
    """A skeleton placed in the room.

    Attributes:
        joints: (17, 3) metres, z up, z = 0 on the floor.
        confidence: (17,) 0…1, 0 where a joint is not known.
    """

    joints: Floats
    confidence: Floats


class Scene:
    """Floor, skeleton and its shadow, seen from a ``View``."""

    def __init__(self, width: int, height: int) -> None:
        """Makes the hidden visualizer.

        Args:
            width: of the pictures in pixels.
            height: of the pictures in pixels.

        Raises:
            UserError: Open3D cannot be loaded or cannot draw on this machine.
        """
        keep_freed_memory()
        o3d = load_open3d()
        self._o3d = o3d
        self._mesh = BodyMesh()
        self._width, self._height = width, height
        self._visualizer: Any = o3d.visualization.Visualizer()
        if not self._visualizer.create_window("dsvt scene", width, height, visible=False):
            raise UserError(
                "Open3D cannot draw on this machine: it found neither a display nor EGL; "
                "install Mesa (apt-get install libegl1 libgl1-mesa-dri)"
            )
        points, lines, colours = floor.grid()
        self._grid = o3d.geometry.LineSet(
            o3d.utility.Vector3dVector(points), o3d.utility.Vector2iVector(lines)
        )
        self._grid.colors = o3d.utility.Vector3dVector(colours)
        self._visualizer.add_geometry(self._grid)
        self._grid_centre = (0, 0)
        self._frusta = self._add_lines(room.frustum_points(()), *room.frustum_lines())
        self._path = self._add_mesh(room.FloorPath().vertices(), *room.path_mesh())
        flat = np.zeros((len(self._mesh.coarse), 3))
        dark = np.broadcast_to(np.array(SHADOW) / 255.0, flat.shape)
        self._shadow = self._add_mesh(flat, self._mesh.coarse_triangles, dark)
        nothing = np.zeros((self._mesh.vertex_count, 3))
        self._body = self._add_mesh(nothing, self._mesh.triangles, nothing)
        options = self._visualizer.get_render_option()
        options.background_color = np.array(BACKGROUND) / 255.0
        options.light_on = False
        options.mesh_show_back_face = False
        options.line_width = 1.0
        control = self._visualizer.get_view_control()
        control.set_constant_z_near(_NEAR_M)
        control.set_constant_z_far(_FAR_M)
        self._parameters = control.convert_to_pinhole_camera_parameters()
        self._picture: Image = np.empty((height, width, 3), np.uint8)
        self._soft = np.empty_like(self._picture)
        self._grey = np.empty((height, width), np.uint8)
        self._neighbours = np.ones((3, 3), np.uint8)
        self._shown: Body | None = None
        self._lit: tuple[View, Image] | None = None
        self._eye: tuple[float, ...] = ()
        self._nobody = Body(np.zeros((JOINT_COUNT, 3)), np.zeros(JOINT_COUNT))

    def render(self, body: Body | None, view: View) -> Image:
        """Draws the scene.

        Args:
            body: the skeleton, or None where nobody is seen.
            view: where it is seen from.

        Returns:
            (height, width, 3) uint8 BGR, overwritten by the next call.
        """
        self._move_floor(view.target[0], view.target[1])
        self._move_body(body or self._nobody, view)
        self._aim(view)
        # All colours were given as BGR in the place of RGB, so the picture comes out as BGR.
        frame = np.asarray(self._visualizer.capture_screen_float_buffer(True))
        cv2.convertScaleAbs(frame, dst=self._picture, alpha=255.0)
        self._smooth_edges()
        cv2.add(self._picture, self._light(view), dst=self._picture)
        return self._picture

    def show_cameras(self, shown: tuple[room.Frustum, ...]) -> None:
        """Draws these cameras from now on."""
        np.asarray(self._frusta.points)[:] = room.frustum_points(shown)
        self._visualizer.update_geometry(self._frusta)

    def show_path(self, path: room.FloorPath) -> None:
        """Draws this path on the floor from now on."""
        np.asarray(self._path.vertices)[:] = path.vertices()
        self._visualizer.update_geometry(self._path)

    def close(self) -> None:
        """Frees the visualizer; the scene cannot be used again."""
        self._visualizer.destroy_window()
        # Freed now: freed after another one was made, it would take that one's GL objects along.
        self._visualizer = None

    def _add_mesh(self, vertices: Floats, triangles: npt.NDArray[np.int32], colours: Floats) -> Any:
        utility = self._o3d.utility
        mesh = self._o3d.geometry.TriangleMesh(
            utility.Vector3dVector(vertices), utility.Vector3iVector(triangles)
        )
        # No normals: Open3D then draws the vertex colours as they are.
        mesh.vertex_colors = utility.Vector3dVector(colours)
        self._visualizer.add_geometry(mesh, False)  # the grid has set the bounds
        return mesh

    def _add_lines(self, points: Floats, lines: npt.NDArray[np.int32], colours: Floats) -> Any:
        utility = self._o3d.utility
        added = self._o3d.geometry.LineSet(
            utility.Vector3dVector(points), utility.Vector2iVector(lines)
        )
        added.colors = utility.Vector3dVector(colours)
        self._visualizer.add_geometry(added, False)
        return added

    def _move_floor(self, x: float, y: float) -> None:
        """Keeps the grid under the person, by whole metres so that its lines stand still."""
        centre = (round(x), round(y))
        if centre == self._grid_centre:
            return
        shift = np.array([centre[0] - self._grid_centre[0], centre[1] - self._grid_centre[1], 0.0])
        np.asarray(self._grid.points)[:] += shift
        self._grid_centre = centre
        self._visualizer.update_geometry(self._grid)

    def _move_body(self, body: Body, view: View) -> None:
        eye = view.eye()
        place = tuple(np.round(eye, 3))
        if body is self._shown and place == self._eye:
            return
        vertices, normals = self._mesh.shape(body.joints, body.confidence)
        np.asarray(self._body.vertices)[:] = vertices
        np.asarray(self._body.vertex_colors)[:] = self._mesh.colours(
            vertices, normals, body.confidence, eye
        )
        self._visualizer.update_geometry(self._body)
        if body is not self._shown:
            np.asarray(self._shadow.vertices)[:] = floor.shadow(vertices[self._mesh.coarse])
            self._visualizer.update_geometry(self._shadow)
        self._shown, self._eye = body, place

    def _smooth_edges(self) -> None:
        """Softens the stairs at edges: neither of Open3D's hidden windows samples more than once.

        Pixels in whose neighbourhood the brightness jumps are blurred, after the idea of FXAA
        (Lottes, NVIDIA white paper, 2009).
        """
        cv2.cvtColor(self._picture, cv2.COLOR_BGR2GRAY, dst=self._grey)
        cv2.morphologyEx(self._grey, cv2.MORPH_GRADIENT, self._neighbours, dst=self._grey)
        cv2.threshold(self._grey, _EDGE, 255, cv2.THRESH_BINARY, dst=self._grey)
        cv2.GaussianBlur(self._picture, (3, 3), 0, dst=self._soft)
        cv2.copyTo(self._soft, self._grey, self._picture)

    def _light(self, view: View) -> Image:
        if self._lit is None or self._lit[0] != view:
            self._lit = (view, floor.glow(view, self._width, self._height))
        return self._lit[1]

    def _aim(self, view: View) -> None:
        self._parameters.extrinsic = view.extrinsic()
        matrix = intrinsic(self._width, self._height)
        self._parameters.intrinsic.set_intrinsics(
            self._width, self._height, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
        )
        self._visualizer.get_view_control().convert_from_pinhole_camera_parameters(
            self._parameters, allow_arbitrary=True
        )


def load_open3d() -> Any:
    """Imports Open3D (slow, so only where it is drawn) and quietens it.

    Raises:
        UserError: a library that it needs is missing.
    """
    if os.environ.get("DISPLAY"):
        # A hidden window under Wayland never gets its frames shown and blocks; X11 does not.
        os.environ["XDG_SESSION_TYPE"] = "x11"
        os.environ.pop("WAYLAND_DISPLAY", None)
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise UserError(
            f"Open3D cannot be loaded: {error}; on Debian or Ubuntu: "
            "apt-get install libusb-1.0-0 libgomp1 libgl1 libegl1"
        ) from error
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    return open3d


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks of picture size (Linux).

    Otherwise every picture's 10 MB are given back and faulted in anew, which costs four times
    the copy itself (18.9 against 4.1 ms at 1280×720).
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 64 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
