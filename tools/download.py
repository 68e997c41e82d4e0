"""Downloads one file: with a progress bar, resuming what is there, checked by hash."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from engines.errors import UserError

_CHUNK: Final = 1 << 16
_TIMEOUT_S: Final = 30.0


def download(url: str, path: Path, size: int, sha256: str, console: Console) -> None:
    """Downloads a file of known size and hash.

    What an interrupted download has brought lies in ``path`` with ``.part`` added and is gone on
    with next time. A file with the wrong hash is removed.

    Args:
        url: http or https.
        path: where the whole file will be.
        size: in bytes; not a byte more is read.
        sha256: in hexadecimal.
        console: where the progress bar is drawn.

    Raises:
        UserError: it cannot be reached, breaks off, or is not that file.
    """
    part = path.with_name(path.name + ".part")
    if part.is_file() and part.stat().st_size > size:
        part.unlink()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(path.name, total=size)
        have = part.stat().st_size if part.is_file() else 0
        if have < size:
            try:
                _receive(url, part, size, have, lambda done: progress.update(task, completed=done))
            except urllib.error.HTTPError as error:
                raise UserError(f"{url} answers {error.code} {error.reason}") from error
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                reason = getattr(error, "reason", error)
                raise UserError(
                    f"cannot download {url} ({reason}); run the same command again to go on"
                ) from error
        progress.update(task, completed=size)
    have = part.stat().st_size
    if have < size:
        raise UserError(
            f"{url} broke off after {have} of {size} bytes; run the same command again to go on"
        )
    digest = hashlib.sha256()
    with part.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        part.unlink()
        raise UserError(
            f"what {url} gave is not {path.name}: its SHA-256 is {digest.hexdigest()}, "
            f"not {sha256}; nothing was kept"
        )
    part.replace(path)


def _receive(url: str, part: Path, size: int, have: int, report: Callable[[int], None]) -> None:
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url} is neither http nor https")
    request = urllib.request.Request(url, headers={"User-Agent": "dsvt-live"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        resumed = answer.status == 206
        done = have if resumed else 0
        offered = answer.headers.get("Content-Length")
        if answer.headers.get_content_type() == "text/html" or (
            offered is not None and offered.isdigit() and int(offered) != size - done
        ):
            raise UserError(
                f"{url} does not give the file any more ({answer.headers.get_content_type()}, "
                f"{offered or 'unknown'} bytes): get {part.stem} elsewhere and import it"
            )
        with part.open("ab" if resumed else "wb") as stream:
            while done < size:
                chunk = answer.read(min(_CHUNK, size - done))
                if not chunk:
                    break
                stream.write(chunk)
                done += len(chunk)
                report(done)
