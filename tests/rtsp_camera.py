"""An RTSP camera on this host: H.264 over RTP within the RTSP connection (RFC 2326, 3550, 6184)."""

from __future__ import annotations

import contextlib
import re
import socketserver
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType

import av

from app.clock import now_ns
from capture_rig import stamped_picture

SIZE = (320, 240)
FPS = 30
_MTU = 1200
_RTP_CLOCK = 90_000
_FU_A = 28
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
    "a=control:track1\r\n"
)


class RtspCamera:
    """Serves pictures with the time of their making to every client that plays them."""

    def __init__(self, port: int = 0) -> None:
        """Serves at once.

        Args:
            port: a fixed one, to come back at the same address; 0 for any.
        """
        self.closing = threading.Event()
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the client went away
                    camera._converse(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def _converse(self, handler: socketserver.StreamRequestHandler) -> None:
        while not self.closing.is_set():
            request = b""
            while (line := handler.rfile.readline()) not in (b"\r\n", b""):
                request += line
            if not request:
                return
            method = request.split(b" ", 1)[0].decode()
            number = re.search(rb"CSeq: *(\d+)", request, re.IGNORECASE)
            head = f"RTSP/1.0 200 OK\r\nCSeq: {int(number[1]) if number else 0}\r\nSession: 1\r\n"
            body = ""
            if method == "OPTIONS":
                head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                head += f"Content-Base: {self.url}/\r\nContent-Type: application/sdp\r\n"
                body = _SDP
            elif method == "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            if body:
                head += f"Content-Length: {len(body)}\r\n"
            handler.wfile.write(f"{head}\r\n{body}".encode())
            if method == "PLAY":
                self._play(handler)
                return

    def _play(self, handler: socketserver.StreamRequestHandler) -> None:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height = SIZE
        encoder.pix_fmt = "yuv420p"
        encoder.time_base = Fraction(1, FPS)
        # x264's "stillimage" would blur the barcode less, but only zero latency sends at once.
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "15", "crf": "12"}
        number = sequence = 0
        while not self.closing.wait(1 / FPS):
            pixels = stamped_picture(sequence, now_ns() // 1_000_000, SIZE)
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts = sequence
            for packet in encoder.encode(frame):
                units = _nal_units(bytes(packet))
                for index, unit in enumerate(units):
                    for payload, ends in _fragments(unit):
                        last = ends and index == len(units) - 1
                        when = sequence * _RTP_CLOCK // FPS & 0xFFFFFFFF
                        rtp = struct.pack(">BBHII", 0x80, 96 | last << 7, number, when, 7) + payload
                        handler.wfile.write(b"$\0" + struct.pack(">H", len(rtp)) + rtp)
                        number = number + 1 & 0xFFFF
            sequence += 1

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> RtspCamera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _nal_units(stream: bytes) -> list[bytes]:
    """The units of an Annex B byte stream."""
    return [unit for unit in re.split(rb"\x00{2,}\x01", stream) if unit]


def _fragments(unit: bytes) -> Iterator[tuple[bytes, bool]]:
    """RTP payloads of one unit, and whether each is its last."""
    if len(unit) <= _MTU:
        yield unit, True
        return
    indicator, kind, rest = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F, unit[1:]
    parts = [rest[at : at + _MTU] for at in range(0, len(rest), _MTU)]
    for index, part in enumerate(parts):
        first, last = index == 0, index == len(parts) - 1
        yield bytes([indicator, kind | first << 7 | last << 6]) + part, last
