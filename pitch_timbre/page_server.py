"""The page as files that open by double click, and as a local server."""

from __future__ import annotations

import base64
import json
import tempfile
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

MODEL_SCRIPT = "model.js"


class PageError(OSError):
    """The page cannot be written or served; the message is one line for the user."""


def write_page(folder: Path, card: Path) -> list[Path]:
    """Write the page with a model into a folder.

    The model becomes a script, because a page opened from disk may load scripts and fetch nothing.

    Args:
        folder: made if it is missing; files of the same names are replaced.
        card: the model's card, with the two ONNX files that it names beside it.

    Returns:
        the files written; ``index.html`` is the first.

    Raises:
        PageError: the page is not built, the model is incomplete, or the folder cannot be written.
    """
    built = files("pitch_timbre") / "page" / "static"
    if not (built / "index.html").is_file():
        raise PageError(f"the page is not built: {built} has no index.html; in a checkout, run: make page")
    contents = {part.name: part.read_bytes() for part in built.iterdir() if part.is_file()}
    contents[MODEL_SCRIPT] = _model_script(card)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise PageError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    return [folder / name for name in sorted(contents, key=lambda name: name != "index.html")]


def serve_page(card: Path, port: int = 0, open_browser: bool = True) -> None:
    """Serve the page on this machine until it is interrupted.

    Args:
        card: as in :func:`write_page`.
        port: of 127.0.0.1; 0 takes a free one.
        open_browser: whether the default browser is shown the page.

    Raises:
        PageError: as in :func:`write_page`, or the port is taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_page(Path(folder), card)
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), partial(_QuietHandler, directory=folder))
        except OSError as error:
            raise PageError(f"port {port} cannot be used ({error.strerror}); name another one") from None
        with server:
            address = f"http://127.0.0.1:{server.server_port}/"
            print(f"The page is at {address} until you press Ctrl-C.", flush=True)
            if open_browser:
                webbrowser.open(address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of each request."""


def _model_script(card: Path) -> bytes:
    try:
        described = json.loads(card.read_text(encoding="utf-8"))
        networks = {
            part: base64.b64encode((card.parent / described["files"][part]["name"]).read_bytes()).decode()
            for part in ("encoder", "decoder")
        }
    except OSError as error:
        raise PageError(f"{error.filename}: cannot be read ({error.strerror}); it is part of the model") from None
    except (ValueError, KeyError, TypeError):
        raise PageError(f"{card} is not the card of a model; it is written by: python -m experiments export") from None
    return f"const pitchTimbreModel = {json.dumps({'card': described, **networks})};\n".encode()
