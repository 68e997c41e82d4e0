"""What a capture process says of its camera."""

from __future__ import annotations

from typing import Final, Literal

from app.bus import Publisher
from app.clock import now_ns
from app.messages import CameraStatus
from capture.rate import RateMeter

State = Literal["opening", "streaming", "frozen", "lost", "ended"]

STATUS_PERIOD_S: Final = 0.5


class StatusReporter:
    """Keeps the camera's figures and publishes them twice a second and on every change.

    Attributes:
        source_drops: pictures that the source lost or that were skipped to stay current.
        reconnects: how often the source was opened again.
    """

    def __init__(self, publisher: Publisher[CameraStatus], camera: str) -> None:
        """Says at once that the camera is being opened.

        Args:
            publisher: of the camera's status.
            camera: its identifier.
        """
        self._publisher = publisher
        self._camera = camera
        self._state: State = "opening"
        self._detail = ""
        self._warning = ""
        self._rate = RateMeter()
        self._frames = 0
        self._size = (0, 0)
        self._next_ns = 0
        self.source_drops = 0
        self.reconnects = 0
        self.tick()

    @property
    def state(self) -> State:
        """The last state that was said."""
        return self._state

    @property
    def fps(self) -> float:
        """Measured rate of pictures taken, at present."""
        return self._rate.rate(now_ns())

    def taken(self, frames: int, width: int, height: int) -> None:
        """Counts pictures.

        Args:
            frames: how many were taken, those that were lost at once included.
            width: of the last one, in pixels.
            height: of the last one, in pixels.
        """
        self._frames += frames
        self._size = (width, height)
        self._rate.add(now_ns())

    def say(self, state: State, detail: str, warning: str = "") -> None:
        """Takes a new state; publishes it where it differs from the last."""
        if (state, detail, warning) != (self._state, self._detail, self._warning):
            self._state, self._detail, self._warning = state, detail, warning
            self._publish()

    def tick(self) -> None:
        """Publishes what is due."""
        if now_ns() >= self._next_ns:
            self._publish()

    def _publish(self) -> None:
        at_ns = now_ns()
        self._next_ns = at_ns + round(STATUS_PERIOD_S * 1e9)
        self._publisher.send(
            CameraStatus(
                camera=self._camera,
                state=self._state,
                detail=self._detail,
                at_ns=at_ns,
                fps=round(self._rate.rate(at_ns), 2),
                frames=self._frames,
                source_drops=self.source_drops,
                reconnects=self.reconnects,
                width=self._size[0],
                height=self._size[1],
                warning=self._warning,
            )
        )
