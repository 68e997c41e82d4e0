"""Addresses of network cameras: checked, and told without their passwords."""

from __future__ import annotations

from urllib.parse import urlsplit


def check_address(url: str) -> str:
    """Returns an address that can be opened.

    Raises:
        ValueError: it cannot; the text does not repeat the address, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    if parts is None or not host or parts.fragment:
        raise ValueError(
            "is no address such as rtsp://user:password@192.168.1.20:554/stream1; in user and "
            "password write @ as %40, : as %3A, / as %2F, # as %23 and ? as %3F"
        )
    return url


def without_secrets(url: str) -> str:
    """A checked address without user, password and query: what a bystander may read."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:  # IPv6
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
