"""The viewer without a display: the same picture into a video file."""

from __future__ import annotations

from app.clock import now_ns
from app.process import ProcessContext
from viz.free_path import free_path
from viz.picture import Picture
from viz.video_writer import VideoWriter
from viz.viewer_state import STALE_NS, Inbox

_LONGEST_GAP_S = 1.0  # an unchanged picture is repeated so often, so that the file goes on


def run_offscreen(context: ProcessContext) -> None:
    """Draws into ``spec.video`` until the run ends; without a video there is nothing to draw.

    A picture is made only when something in it changed, at most ``video_fps`` times a second.

    Raises:
        UserError: Open3D cannot draw here or the video cannot be written.
    """
    config, path = context.spec.config, context.spec.video
    if path is None:
        context.ready("no display and no video asked for: nothing is drawn")
        context.stop.wait()
        return
    size = (config.viewer.width, config.viewer.height)
    cameras = tuple(camera.id for camera in config.cameras)
    picture = Picture(size, cameras, preview_width=config.viewer.preview_width, interactive=False)
    inbox = Inbox(context.run_dir, cameras)
    started = context.run_dir / "video.started"
    if started.exists():  # by a viewer before this one: what it drew stays
        path = free_path(path)
    started.touch()
    writer = VideoWriter(path, *size, config.viewer.video_fps)
    context.ready(f"off screen into {path}")
    try:
        _draw_until_the_end(context, inbox, picture, writer)
    finally:
        writer.close()
        picture.close()
        inbox.close()
    context.finished(str(path))


def _draw_until_the_end(
    context: ProcessContext, inbox: Inbox, picture: Picture, writer: VideoWriter
) -> None:
    interval_ns = round(1e9 / context.spec.config.viewer.video_fps)
    start: int | None = None
    drawn_at, drawn_changes, drawn_pose = 0, -1, False
    due = now_ns()
    while not context.stop.is_set():
        inbox.receive(max(0, due - now_ns()) / 1e6, now_ns())
        now = now_ns()
        if now < due:
            continue
        due = max(due + interval_ns, now)
        if start is None and not _begun(inbox):
            continue
        stale = drawn_pose and now - inbox.pose_at_ns > STALE_NS
        changed = inbox.changes != drawn_changes or stale or not picture.camera.settled
        if changed or now - drawn_at > _LONGEST_GAP_S * 1e9:
            start = now if start is None else start
            seconds = min((now - drawn_at) / 1e9, 0.2)
            image = picture.draw(inbox, now, seconds)
            writer.write(image, (now - start) // 1_000_000)
            drawn_at, drawn_changes = now, inbox.changes
            drawn_pose = inbox.fresh_pose(now) is not None
        if inbox.run is not None and inbox.run.phase == "stopping":
            return


def _begun(inbox: Inbox) -> bool:
    running = inbox.run is not None and inbox.run.phase != "starting"
    return running or inbox.pose is not None or inbox.previews is not None
