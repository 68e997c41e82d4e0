"""Capture of network streams, from HTTP-MJPEG and RTSP cameras that the test plays."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import cv2
import pytest

from app.clock import now_ns
from app.config import StreamSource as StreamConfig
from capture.barcode import read_barcode
from capture.grabber import Grabber, Opened
from capture.sources.base import Picture
from capture.sources.stream import StreamSource
from capture_rig import CaptureRig, stamped_picture
from rtsp_camera import RtspCamera

pytestmark = pytest.mark.alone

SIZE = (320, 240)
FPS = 30.0


class MjpegCamera:
    """A network camera on this host: each client gets pictures with the time of their making."""

    def __init__(self, port: int = 0) -> None:
        """Serves at once.

        Args:
            port: a fixed one, to come back at the same address; 0 for any.
        """
        self.silent = threading.Event()
        self._closing = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/page"):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html")
                    self.end_headers()
                    self.wfile.write(b"<html>no camera</html>" * 100)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(OSError):  # the client went away
                    camera.serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server: socketserver.BaseServer = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/camera.mjpg"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        sequence = 0
        while not self._closing.wait(1 / FPS):
            if self.silent.is_set():
                continue
            pixels = stamped_picture(sequence, now_ns() // 1_000_000, SIZE)
            done, jpeg = cv2.imencode(".jpg", pixels)
            assert done
            handler.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: "
                + str(len(jpeg)).encode()
                + b"\r\n\r\n"
                + jpeg.tobytes()
                + b"\r\n"
            )
            sequence += 1

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> MjpegCamera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    with MjpegCamera() as served:
        yield served


def test_a_stream_is_passed_on_with_host_times(camera: MjpegCamera) -> None:
    with CaptureRig({"kind": "stream", "url": camera.url}) as rig:
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) >= 60)
        for frame in rig.frames["c0"]:
            assert frame.header.stamped_by == "host"
            assert frame.stamp is not None
            assert frame.header.capture_ns >= frame.stamp.time_ns
        numbers = [frame.stamp.sequence for frame in rig.frames["c0"] if frame.stamp]
        assert numbers == sorted(set(numbers))
        assert rig.stop() == 0


def test_a_slow_taker_builds_up_no_lag(camera: MjpegCamera) -> None:
    source = StreamSource(StreamConfig(kind="stream", url=camera.url))
    grabber = Grabber(source, lossless=False)
    ages_s: list[float] = []
    deadline = time.monotonic() + 60
    try:
        assert isinstance(grabber.take(30), Opened)
        while len(ages_s) < 20 and time.monotonic() < deadline:
            event = grabber.take(5)
            assert isinstance(event, Picture)
            stamp = read_barcode(event.pixels)
            assert stamp is not None
            ages_s.append((now_ns() - stamp.time_ns) / 1e9)
            time.sleep(0.25)  # takes one picture in seven
    finally:
        grabber.abandon()
    # Lag that builds up would reach 20 × 0.25 s less the little that was taken: over 4 s.
    assert sorted(ages_s[-5:])[2] < 1.5
    assert grabber.overtaken > 20


def test_a_stream_that_dies_comes_back(camera: MjpegCamera) -> None:
    with CaptureRig({"kind": "stream", "url": camera.url}) as rig:
        rig.start()
        rig.pump(lambda: rig.state() == "streaming" and len(rig.frames["c0"]) > 5)
        camera.close()
        rig.pump(lambda: rig.state() == "lost")
        assert "next try in" in rig.statuses["c0"][-1].detail
        before = len(rig.frames["c0"])
        with MjpegCamera(camera.port):
            rig.pump(lambda: rig.state() == "streaming" and len(rig.frames["c0"]) > before + 5)
            assert rig.statuses["c0"][-1].reconnects == 1


def test_a_stream_that_falls_silent_is_lost_and_comes_back(camera: MjpegCamera) -> None:
    with CaptureRig({"kind": "stream", "url": camera.url}) as rig:
        rig.start()
        rig.pump(lambda: rig.state() == "streaming" and len(rig.frames["c0"]) > 5)
        camera.silent.set()
        rig.pump(lambda: rig.state() == "lost")
        camera.silent.clear()
        rig.pump(lambda: rig.state() == "streaming")
        assert rig.statuses["c0"][-1].reconnects >= 1


def test_an_address_without_a_camera_is_lost_and_hides_the_password(camera: MjpegCamera) -> None:
    page = f"http://me:secret@127.0.0.1:{camera.port}/page"
    with MjpegCamera() as other:
        nobody = f"http://127.0.0.1:{other.port}/"
    sources = [{"kind": "stream", "url": url, "open_timeout_s": 2} for url in (page, nobody)]
    with CaptureRig(*sources) as rig:
        rig.start()
        rig.pump(lambda: [rig.state(camera) for camera in rig.ids] == ["lost", "lost"])
        for identifier in rig.ids:
            detail = rig.statuses[identifier][-1].detail
            assert "no answer, or not a video stream" in detail
            assert "secret" not in detail
            assert rig.stop(identifier) == 0


def test_it_stops_while_the_other_side_says_nothing() -> None:
    # Accepts connections and never answers: the reader is blocked in native code.
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as listener:
        url = f"http://127.0.0.1:{listener.server_address[1]}/"
        with CaptureRig({"kind": "stream", "url": url, "open_timeout_s": 60}) as rig:
            rig.start()
            rig.pump(lambda: rig.state() == "opening" and "camera.c0" in rig.heartbeats)
            rig.pump(lambda: len(rig.statuses["c0"]) >= 4)  # it still tells its state
            assert rig.stop() == 0


def test_an_rtsp_camera_is_passed_on_dies_and_comes_back() -> None:
    with RtspCamera() as camera, CaptureRig({"kind": "stream", "url": camera.url}) as rig:
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) >= 40)
        numbers = [frame.stamp.sequence for frame in rig.frames["c0"] if frame.stamp]
        assert len(numbers) == len(rig.frames["c0"])
        assert numbers == sorted(set(numbers))
        for frame in rig.frames["c0"]:
            assert frame.header.stamped_by == "host"
            assert frame.stamp is not None
            assert frame.header.capture_ns >= frame.stamp.time_ns
        assert "320×240" in rig.statuses["c0"][-1].detail
        camera.close()
        rig.pump(lambda: rig.state() == "lost")
        rig.frames.clear()
        with RtspCamera(camera.port):
            rig.pump(lambda: len(rig.frames["c0"]) >= 20)
            assert rig.statuses["c0"][-1].reconnects >= 1
            assert rig.stop() == 0
