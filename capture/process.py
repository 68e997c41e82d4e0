"""The process of one camera: reads its source, publishes its pictures and its state."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.config import CameraConfig
from app.messages import CameraStatus, FrameHeader
from app.process import ProcessContext, run_process
from app.run_messages import RunState
from app.topics import Topic
from capture.backoff import Backoff
from capture.frozen import FrozenDetector
from capture.grabber import Ended, Event, Failed, Grabber, Lost, Opened
from capture.playback import PlaybackDelay
from capture.sources import Picture, make_source, prepare_opencv
from capture.status import StatusReporter
from capture.turning import upright
from engines.errors import UserError

_POLL_S: Final = 0.2
_RUN_STATE_POLL_MS: Final = 20
_LIVE_DELIVERY_S: Final = 2.0
_LOSSLESS_DELIVERY_S: Final = 30.0
_MOST_HUNG_THREADS: Final = 3
_SLOW_SHARE: Final = 0.8

_log = logging.getLogger("capture")


class CaptureLoop:
    """Opens the source again and again, and passes on what it gives.

    The source is read by a grabber thread. Where that thread hangs it is left alone and a new one
    is started, so that this loop always answers, and stops within a fraction of a second.
    """

    def __init__(
        self,
        context: ProcessContext,
        camera: CameraConfig,
        frames: Publisher[FrameHeader],
        status: StatusReporter,
        run_state: Subscriber[RunState],
    ) -> None:
        """Prepares the source; nothing is opened.

        Args:
            context: of this process.
            camera: its configuration.
            frames: where pictures go.
            status: where its state goes.
            run_state: tells when files begin.
        """
        self._context = context
        self._camera = camera
        self._frames = frames
        self._status = status
        self._run_state = run_state
        self._lossless = context.spec.config.lossless
        # Rises with every start of this process, also over restarts of the machine's other parts.
        self._run = now_ns() // 1_000_000
        self._sequence = 0
        numbers = {camera.id: n for n, camera in enumerate(context.spec.config.cameras)}
        self._delay = PlaybackDelay(context.run_dir, numbers[camera.id])
        self._source = make_source(camera, self._delay)
        self._grabber: Grabber | None = None
        self._hung: list[Grabber] = []
        self._overtaken_before = 0
        self._frozen = FrozenDetector(camera.frozen_after_s)
        self._backoff = Backoff()
        self._retry_ns = 0
        self._silent_since_ns = 0
        self._first_picture_ns = 0
        self._opened_before = False
        self._mode = ""
        self._ready = False
        self._epoch_ns: int | None = None
        self._over = False

    def run(self) -> None:
        """Runs until the source is over or the process is asked to stop.

        Raises:
            UserError: the source cannot work as configured.
        """
        while not self._context.stop.is_set() and not self._over:
            if self._grabber is None:
                self._try_again()
            elif self._waits_for_epoch():
                self._look_for_epoch(self._grabber)
            else:
                event = self._grabber.take(_POLL_S)
                if event is not None:
                    self._handle(self._grabber, event)
                self._look_for_silence()
            self._status.tick()
        if self._grabber is not None:
            self._grabber.abandon()

    def deliver(self) -> None:
        """Stays until what was sent has arrived, so that ending the process loses nothing.

        What waits in the kernel for a slow subscriber would be lost with this process, and nobody
        can see when it is taken: offline it therefore stays until the run ends, or half a minute.
        """
        linger_s = _LOSSLESS_DELIVERY_S if self._lossless else _LIVE_DELIVERY_S
        until_ns = None
        while until_ns is None or now_ns() < until_ns:
            if self._context.stop.wait(_POLL_S) or self._run_is_over():
                return
            self._status.tick()
            if until_ns is None and self._frames.wait_sent(0):
                until_ns = now_ns() + round(linger_s * 1e9)

    def _run_is_over(self) -> bool:
        received = self._run_state.latest()
        return received is not None and received.message.phase == "stopping"

    def _try_again(self) -> None:
        if now_ns() < self._retry_ns:
            left_s = (self._retry_ns - now_ns()) / 1e9
            self._context.stop.wait(min(_POLL_S, left_s))
            return
        self._hung = [grabber for grabber in self._hung if grabber.alive]
        if len(self._hung) >= _MOST_HUNG_THREADS:
            self._lose("the driver does not answer; unplug the camera and plug it in again")
            return
        if self._hung:  # the old source belongs to a thread that hangs
            self._source = make_source(self._camera, self._delay)
        self._status.say("opening", self._source.name)
        self._silent_since_ns = now_ns()
        self._first_picture_ns = 0
        self._overtaken_before = 0
        self._frozen = FrozenDetector(self._camera.frozen_after_s)
        self._grabber = Grabber(self._source, lossless=self._lossless)

    def _waits_for_epoch(self) -> bool:
        return self._source.waits_for_run and self._epoch_ns is None and self._mode != ""

    def _look_for_epoch(self, grabber: Grabber) -> None:
        received = self._run_state.receive(_RUN_STATE_POLL_MS)
        if received is None:
            return
        if received.message.phase == "stopping":
            self._over = True
        elif received.message.phase == "running":
            self._epoch_ns = received.message.epoch_ns
            self._status.say("streaming", self._mode)
            grabber.begin(self._epoch_ns)

    def _handle(self, grabber: Grabber, event: Event) -> None:
        if isinstance(event, Picture):
            self._handle_picture(grabber, event)
        elif isinstance(event, Opened):
            self._handle_opened(grabber, event)
        elif isinstance(event, Lost):
            self._lose(event.reason)
        elif isinstance(event, Ended):
            self._over = True
            self._status.say("ended", f"{self._mode}: over")
            self._context.finished("over")
        elif isinstance(event, Failed):
            self._status.say("lost", str(event.error))
            raise event.error

    def _handle_opened(self, grabber: Grabber, opened: Opened) -> None:
        _log.info("%s", opened.detail)
        if self._opened_before:
            self._status.reconnects += 1
        self._opened_before = True
        self._mode = opened.detail
        if self._camera.rotate:
            self._mode += f", turned by {self._camera.rotate}°"
        self._silent_since_ns = now_ns()
        self._say_ready(self._mode)
        if not self._source.waits_for_run:
            return
        if self._epoch_ns is None:
            self._status.say("opening", f"{self._mode}: waits for the run to begin")
        else:
            grabber.begin(self._epoch_ns)

    def _handle_picture(self, grabber: Grabber, picture: Picture) -> None:
        height, width = picture.pixels.shape[:2]
        pixels = upright(picture.pixels, self._camera.rotate)
        self._silent_since_ns = now_ns()
        if self._first_picture_ns == 0:
            self._first_picture_ns = self._silent_since_ns
        self._status.taken(1 + picture.lost, pixels.shape[1], pixels.shape[0])
        self._status.source_drops += picture.skipped
        self._status.source_drops += self._newly_overtaken(grabber)
        self._sequence += picture.lost
        if self._source.watch_frozen and self._frozen.update(picture.pixels, picture.capture_ns):
            self._status.say(
                "frozen",
                f"{self._mode}: the picture has not changed at all for "
                f"{self._camera.frozen_after_s:g} s; is the lens covered?",
            )
            return  # a stale picture is never repeated as if it were new
        self._status.say("streaming", self._mode, self._warning(width, height))
        self._publish(picture, pixels)

    def _newly_overtaken(self, grabber: Grabber) -> int:
        new = grabber.overtaken - self._overtaken_before
        self._overtaken_before += new
        return new

    def _publish(self, picture: Picture, pixels: NDArray[np.uint8]) -> None:
        header = FrameHeader(
            camera=self._camera.id,
            run=self._run,
            sequence=self._sequence,
            capture_ns=picture.capture_ns,
            stamped_by=picture.stamped_by,
            width=pixels.shape[1],
            height=pixels.shape[0],
            delay_ns=picture.delay_ns,
        )
        self._sequence += 1
        payload = pixels.data.cast("B")
        while not self._frames.send(header, payload) and self._lossless:
            if self._context.stop.is_set():
                return
            self._frames.wait_writable(round(_POLL_S * 1000))
            self._status.tick()

    def _warning(self, width: int, height: int) -> str:
        source = self._source
        found: list[str] = []
        if source.expected_size is not None and source.expected_size != (width, height):
            asked = source.expected_size
            found.append(f"pictures are {width}×{height}, not {asked[0]}×{asked[1]} as asked")
        if source.hint:
            found.append(source.hint)
        settled = now_ns() - self._first_picture_ns > 5_000_000_000
        if source.slow_hint and settled and self._status.fps < _SLOW_SHARE * source.expected_fps:
            found.append(f"slower than its {source.expected_fps:g} fps: {source.slow_hint}")
        return "; ".join(found)

    def _look_for_silence(self) -> None:
        if self._grabber is None or self._waits_for_epoch():
            return
        started = self._first_picture_ns != 0
        limit_s = self._source.silence_s if started else self._source.open_timeout_s
        if limit_s is None or (self._source.waits_for_run and self._mode):
            return
        silent_s = (now_ns() - self._silent_since_ns) / 1e9
        if silent_s > limit_s:
            self._lose(f"{self._source.name}: no picture for {silent_s:.0f} s")

    def _lose(self, reason: str) -> None:
        if self._grabber is not None:
            self._grabber.abandon()
            self._hung.append(self._grabber)
            self._grabber = None
        worked_s = 0.0
        if self._first_picture_ns:
            worked_s = (now_ns() - self._first_picture_ns) / 1e9
            self._first_picture_ns = 0
        pause_s = self._backoff.after_failure(worked_s)
        self._retry_ns = now_ns() + round(pause_s * 1e9)
        self._mode = ""
        detail = f"{reason}; next try in {pause_s:g} s"
        _log.warning("%s", detail)
        self._status.say("lost", detail)
        self._say_ready(detail)

    def _say_ready(self, detail: str) -> None:
        # A camera that is absent is ready too: the others must not wait for it.
        if not self._ready:
            self._ready = True
            self._context.ready(detail)


def main(context: ProcessContext) -> None:
    """Runs the camera that the process is named after."""
    cameras = {camera.id: camera for camera in context.spec.config.cameras}
    camera = cameras.get(context.key)
    if camera is None:
        raise UserError(f"{context.name}: the configuration has no camera '{context.key}'")
    prepare_opencv()
    lossless = context.spec.config.lossless
    with (
        Publisher[CameraStatus](context.run_dir, Topic.CAMERA_STATUS, camera.id) as said,
        Publisher[FrameHeader](
            context.run_dir, Topic.FRAMES, camera.id, lossless=lossless
        ) as frames,
        Subscriber[RunState](context.run_dir, Topic.RUN_STATE) as run_state,
    ):
        loop = CaptureLoop(context, camera, frames, StatusReporter(said, camera.id), run_state)
        loop.run()
        if not context.stop.is_set():
            loop.deliver()


if __name__ == "__main__":
    run_process(main)
