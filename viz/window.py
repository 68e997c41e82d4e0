"""The viewer's window: shows the composed picture and turns keys and the mouse into actions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from app.bus import Publisher
from app.clock import now_ns
from app.process import ProcessContext
from app.process_table import looks_for_cameras
from app.run_messages import Action, Command
from app.topics import Topic
from engines.errors import UserError
from viz.free_path import free_path
from viz.orbit_camera import OrbitCamera
from viz.picture import Picture
from viz.scene import load_open3d
from viz.viewer_state import STALE_NS, Inbox

Image = npt.NDArray[np.uint8]

_ESCAPE: Final = 256  # GLFW key codes
_QUIET_KEYS: Final = "DOP"  # Open3D's own: save depth, options or a picture
_FASTEST_S: Final = 1 / 40
_LARGEST_SHARE: Final = 0.3  # of one core, so that inference keeps the rest
_SLOWEST_S: Final = 0.5  # slower than that nobody calls it live, whatever it costs
_EVENTS_S: Final = 1 / 60
_MESSAGE_S: Final = 3.0
_RESIZE_S: Final = 0.3
_TURN_PER_PIXEL: Final = 0.007
_LEFT_BUTTON: Final = 0


@dataclass(slots=True)
class _Mouse:
    x: float = 0.0
    y: float = 0.0
    button: int | None = None


class Window:
    """A GLFW window of Open3D that shows one picture, whatever its size."""

    def __init__(self, title: str, size: tuple[int, int]) -> None:
        """Opens the window.

        Args:
            title: of the window.
            size: width and height in pixels.

        Raises:
            UserError: no window can be opened.
        """
        self._o3d = load_open3d()
        self._visualizer: Any = self._o3d.visualization.VisualizerWithKeyCallback()
        if not self._visualizer.create_window(title, *size):
            raise UserError(
                "no window can be opened on this display; check DISPLAY, or use --headless"
            )
        self._visualizer.get_render_option().background_color = np.zeros(3)
        self._shown: Any = None

    @property
    def visualizer(self) -> Any:
        """Open3D's ``VisualizerWithKeyCallback``."""
        return self._visualizer

    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as it is now."""
        control = self._visualizer.get_view_control()
        camera = control.convert_to_pinhole_camera_parameters().intrinsic
        return int(camera.width), int(camera.height)

    def poll(self) -> bool:
        """Handles keys and mouse; False when the window was closed."""
        return bool(self._visualizer.poll_events())

    def show(self, image: Image) -> None:
        """Shows a (H, W, 3) uint8 BGR picture."""
        shown = None if self._shown is None else np.asarray(self._shown)
        if shown is None or shown.shape != image.shape:
            self._visualizer.clear_geometries()
            self._shown = self._o3d.geometry.Image(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            self._visualizer.add_geometry(self._shown)
        else:
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=shown)
            self._visualizer.update_geometry(self._shown)
        self._visualizer.update_renderer()

    def close(self) -> None:
        """Closes the window."""
        self._visualizer.destroy_window()


class WindowViewer:
    """The window, what it shows, and what the user does in it."""

    def __init__(self, context: ProcessContext) -> None:
        """Opens the window.

        Raises:
            UserError: no window can be opened, or Open3D cannot draw.
        """
        config = context.spec.config
        self._context = context
        self._cameras = tuple(camera.id for camera in config.cameras)
        self._folder = config.recorder.folder
        self._window = Window("DSVT Live", (config.viewer.width, config.viewer.height))
        self._size = self._window.size()
        self._picture = Picture(
            self._size,
            self._cameras,
            preview_width=config.viewer.preview_width,
            interactive=True,
        )
        self._inbox = Inbox(context.run_dir, self._cameras)
        self._commands = Publisher[Command](context.run_dir, Topic.COMMANDS, "viewer")
        self._quit = False
        self._dirty = True
        self._save = False
        self._message_until = 0.0
        self._listen(self._window.visualizer)

    def run(self) -> None:
        """Shows the run until it ends or the user quits."""
        drawn_at, drawn_changes, drawn_pose = now_ns(), -1, False
        due = time.monotonic()
        resize_at = 0.0
        while not self._context.stop.is_set():
            self._context.turned()
            wait = min(max(0.0, due - time.monotonic()), _EVENTS_S)
            self._inbox.receive(wait * 1000, now_ns())
            if not self._window.poll() or self._quit:
                self._send("quit")
                return
            if self._inbox.run is not None and self._inbox.run.phase == "stopping":
                return
            begun = time.monotonic()
            size = self._window.size()
            if size == self._size:
                resize_at = begun + _RESIZE_S
            elif begun > resize_at and min(size) >= 64:
                self._picture.resize(size)
                self._size = size
                self._dirty = True
            if self._picture.message and begun > self._message_until:
                self._picture.message = ""
                self._dirty = True
            now = now_ns()
            stale = drawn_pose and now - self._inbox.pose_at_ns > STALE_NS
            changed = self._inbox.changes != drawn_changes
            if not (changed or stale or self._dirty or not self._picture.camera.settled):
                time.sleep(max(0.0, _EVENTS_S - (time.monotonic() - begun)) if wait == 0 else 0)
                continue
            if begun < due:
                continue
            # Not the time on the wall: on a busy machine most of that is others' work.
            begun_cpu = time.process_time()
            image = self._picture.draw(self._inbox, now, min((now - drawn_at) / 1e9, 0.2))
            self._window.show(image)
            if self._save:
                self._save_picture(image)
            self._dirty = False
            drawn_at, drawn_changes = now, self._inbox.changes
            drawn_pose = self._inbox.fresh_pose(now) is not None
            cost = time.process_time() - begun_cpu
            due = begun + min(max(_FASTEST_S, cost / _LARGEST_SHARE), _SLOWEST_S)

    def close(self) -> None:
        """Closes window and sockets."""
        self._inbox.close()
        self._commands.close()
        self._picture.close()
        self._window.close()

    def _listen(self, visualizer: Any) -> None:
        def on(key: str | int, act: Any) -> None:
            code = ord(key) if isinstance(key, str) else key

            def pressed(_: Any) -> bool:
                act()
                self._dirty = True
                return False

            visualizer.register_key_callback(code, pressed)

        on("L", lambda: self._ask("level", "level: standing upright now"))
        on("F", lambda: self._ask("front", "front: facing the front now"))
        on("R", lambda: self._ask("record"))
        on("C", lambda: self._ask("recalibrate", "the cameras are being found anew"))
        on(" ", lambda: self._ask("pause"))
        on("N", lambda: self._ask("step"))
        on("A", lambda: self._ask("again", "again from the beginning"))
        on("V", lambda: self._picture.camera.reset())
        on("S", self._ask_picture)
        on("H", self._toggle_help)
        on("Q", self._ask_quit)
        on(_ESCAPE, self._ask_quit)
        for key in _QUIET_KEYS:
            on(key, lambda: None)
        connect_mouse(visualizer, lambda: self._picture.camera, self._size[1])

    def _send(self, action: Action) -> None:
        self._commands.send(Command(action=action, at_ns=now_ns()))

    def _ask(self, action: Action, message: str = "") -> None:
        """Passes a wish on, or says why it cannot be met."""
        spec = self._context.spec
        of_replay = action in ("pause", "step", "again")
        if of_replay != (spec.mode == "replay"):
            self._say("only in a replay" if of_replay else "not in a replay")
        elif action in ("level", "front") and self._inbox.fresh_pose(now_ns()) is None:
            self._say(f"{action}: nobody is seen")
        elif action == "recalibrate" and not looks_for_cameras(spec):
            self._say("this run does not look for its cameras")
        else:
            self._send(action)
            if message:
                self._say(message)

    def _say(self, message: str) -> None:
        self._picture.message = message
        self._message_until = time.monotonic() + _MESSAGE_S
        self._dirty = True

    def _ask_picture(self) -> None:
        self._save = True

    def _toggle_help(self) -> None:
        self._picture.help_shown = not self._picture.help_shown

    def _ask_quit(self) -> None:
        self._quit = True

    def _save_picture(self, image: Image) -> None:
        self._save = False
        path = self._folder / time.strftime("viewer-%Y%m%d-%H%M%S.png")
        try:
            path = free_path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            done, data = cv2.imencode(".png", image)
            if done:
                path.write_bytes(data.tobytes())
        except OSError as error:
            self._say(f"{path}: not saved: {error.strerror}")
            return
        self._say(f"saved {path}")


def connect_mouse(visualizer: Any, camera: Any, height: int) -> None:
    """Lets the mouse turn (left), move (other buttons) and zoom (wheel) a camera.

    Args:
        visualizer: Open3D's ``VisualizerWithKeyCallback``.
        camera: called for the ``OrbitCamera`` of the moment.
        height: of the picture in pixels.
    """
    mouse = _Mouse()

    def pressed(_: Any, button: int, action: int, __: int) -> bool:
        mouse.button = button if action == 1 else None
        return True

    def moved(_: Any, x: float, y: float) -> bool:
        dx, dy = x - mouse.x, y - mouse.y
        mouse.x, mouse.y = x, y
        target: OrbitCamera = camera()
        if mouse.button == _LEFT_BUTTON:
            target.orbit(-dx * _TURN_PER_PIXEL, dy * _TURN_PER_PIXEL)
        elif mouse.button is not None:
            metres = 0.7 * target.view.distance / height
            target.pan(-dx * metres, dy * metres)
        return True

    def scrolled(_: Any, __: float, up: float) -> bool:
        camera().zoom(0.9**up)
        return True

    visualizer.register_mouse_button_callback(pressed)
    visualizer.register_mouse_move_callback(moved)
    visualizer.register_mouse_scroll_callback(scrolled)


def run_window(context: ProcessContext) -> None:
    """Opens the window and shows the run until it ends or the user quits.

    Raises:
        UserError: no window can be opened, or Open3D cannot draw.
    """
    viewer = WindowViewer(context)
    context.ready("window")
    try:
        viewer.run()
    finally:
        viewer.close()
    context.finished()
