"""The viewer's whole picture: the scene with its figures, and the previews beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.placement import Placer
from engines.rig.types import Rig
from viz import heads_up
from viz.layout import panel_width
from viz.orbit_camera import OrbitCamera
from viz.preview_panel import USUAL_ASPECT, PreviewPanel
from viz.room import FloorPath, Frustum, frusta
from viz.room_pictures import draw_pictures
from viz.scene import Body, Scene
from viz.viewer_state import Inbox, small_pictures

Image = npt.NDArray[np.uint8]


class Picture:
    """Composes the picture, the same for the window and for the video.

    Attributes:
        camera: where the scene is seen from.
        help_shown: whether the list of keys covers the scene.
        message: a line at the foot of the scene, or empty.
    """

    def __init__(
        self,
        size: tuple[int, int],
        cameras: tuple[str, ...],
        *,
        preview_width: int,
        interactive: bool,
    ) -> None:
        """Prepares the scene.

        Args:
            size: width and height of the picture in pixels.
            cameras: identifiers of the cameras.
            preview_width: width of one preview in pixels, where there is room.
            interactive: whether somebody can press keys.

        Raises:
            UserError: Open3D cannot draw on this machine.
        """
        self.camera = OrbitCamera()
        self.help_shown = False
        self.message = ""
        self._cameras = cameras
        self._preview_width = preview_width
        self._interactive = interactive
        self._placer = Placer()
        self._placed: tuple[object, Body] | None = None
        self._rig: Rig | None = None
        self._frusta: tuple[Frustum, ...] = ()
        self._path = FloorPath()
        self._world = 0
        self._aspects: tuple[float, ...] = (USUAL_ASPECT,) * len(cameras)
        self._size = size
        self._lay_out(panel_width(*size, preview_width, self._aspects))

    def resize(self, size: tuple[int, int]) -> None:
        """Draws at another size (width, height) from now on."""
        self._size = size
        self._scene.close()
        self._lay_out(panel_width(*size, self._preview_width, self._aspects))

    def close(self) -> None:
        """Frees the scene."""
        self._scene.close()

    def draw(self, inbox: Inbox, now_ns: int, seconds: float) -> Image:
        """Draws what is known now.

        Args:
            inbox: what is known.
            now_ns: the present, to tell stale poses.
            seconds: time since the last picture, for the camera's movement.

        Returns:
            (height, width, 3) uint8 BGR, overwritten by the next call.
        """
        self._fit_panel(inbox)
        pose = inbox.fresh_pose(now_ns)
        body: Body | None = None
        if pose is not None:
            if self._placed is None or self._placed[0] is not pose:
                self._placed = (pose, Body(*self._placer.place(pose)))
            body = self._placed[1]
            if pose.root is not None:
                self.camera.follow(pose.root[0], pose.root[1])
                if self._path.add(pose.root[0], pose.root[1]):
                    self._scene.show_path(self._path)
        self._show_rig(inbox)
        view = self.camera.step(seconds)
        scene = self._scene.render(body, view)
        if self._frusta:
            draw_pictures(scene, view, self._frusta, small_pictures(inbox), body)
        heads_up.draw_axes(scene, view)
        heads_up.draw_scale(scene)
        heads_up.draw_heads_up(scene, inbox, pose, len(self._cameras), now_ns)
        heads_up.draw_hint(scene, interactive=self._interactive, message=self.message)
        if self.help_shown:
            heads_up.draw_help(scene)
        self._image[:, : scene.shape[1]] = scene
        self._image[:, scene.shape[1] :] = self._panel.draw(inbox)
        return self._image

    def _show_rig(self, inbox: Inbox) -> None:
        """Draws the cameras where they were found; steps back for them the first time."""
        world = 0 if inbox.rig_update is None else inbox.rig_update.world
        if world != self._world:
            self._world = world
            self._path.clear()
            self._scene.show_path(self._path)
        if inbox.rig is self._rig:
            return
        self._rig = inbox.rig
        self._frusta = () if inbox.rig is None else frusta(inbox.rig)
        self._scene.show_cameras(self._frusta)
        if self._frusta:
            places = np.array([f.apex[:2] for f in self._frusta])
            self.camera.step_back(float(np.linalg.norm(places - places.mean(0), axis=1).max()))

    def _lay_out(self, panel: int) -> None:
        width, height = self._size
        self._scene = Scene(width - panel, height)
        self._scene.show_cameras(self._frusta)
        self._scene.show_path(self._path)
        self._panel = PreviewPanel(panel, height, self._cameras, self._preview_width)
        self._image: Image = np.zeros((height, width, 3), np.uint8)

    def _fit_panel(self, inbox: Inbox) -> None:
        """Makes the column as wide as the previews need once their shapes are known."""
        aspects = tuple(inbox.aspects.get(name, USUAL_ASPECT) for name in self._cameras)
        if aspects == self._aspects:
            return
        self._aspects = aspects
        panel = panel_width(*self._size, self._preview_width, aspects)
        if panel != self._panel.width:
            self._scene.close()
            self._lay_out(panel)
