"""The page as files and as a server: what is written, what is served, and what is refused."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pitch_timbre import page_server
from pitch_timbre.page_server import PageError, serve_page, write_page


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model's card; the built page is two files."""
    package = tmp_path / "package"
    (package / "page/static").mkdir(parents=True)
    (package / "page/static/index.html").write_text("<p>page</p>")
    (package / "page/static/page.js").write_text("1")
    monkeypatch.setattr(page_server, "files", lambda name: package)
    model = tmp_path / "model"
    model.mkdir()
    (model / "e.onnx").write_bytes(b"\x00encoder")
    (model / "d.onnx").write_bytes(b"\xffdecoder")
    described = {"format": 1, "files": {"encoder": {"name": "e.onnx"}, "decoder": {"name": "d.onnx"}}}
    (model / "card.json").write_text(json.dumps(described))
    return model / "card.json"


def test_the_model_lies_beside_the_page_as_a_script(card: Path, tmp_path: Path) -> None:
    written = write_page(tmp_path / "new" / "folder", card)
    assert written[0].name == "index.html"
    assert {path.name for path in written} == {"index.html", "page.js", "model.js"}
    script = (tmp_path / "new/folder/model.js").read_text()
    packed = json.loads(re.fullmatch(r"const pitchTimbreModel = (.*);\n", script)[1])  # type: ignore[index]
    assert base64.b64decode(packed["encoder"]) == b"\x00encoder"
    assert base64.b64decode(packed["decoder"]) == b"\xffdecoder"
    assert packed["card"] == json.loads(card.read_text())


def test_it_is_written_again_over_itself(card: Path, tmp_path: Path) -> None:
    assert write_page(tmp_path / "out", card) == write_page(tmp_path / "out", card)


@pytest.mark.parametrize(
    "content", ["", "not JSON", "[]", "{}", '{"files": {"encoder": {"name": "e.onnx"}}}', "\xff\xfe"]
)
def test_a_card_that_is_none_is_refused(card: Path, tmp_path: Path, content: str) -> None:
    card.write_text(content, encoding="latin-1")
    with pytest.raises(PageError, match=r"card\.json") as refused:
        write_page(tmp_path / "out", card)
    assert "\n" not in str(refused.value)


def test_what_is_missing_is_named(card: Path, tmp_path: Path) -> None:
    (card.parent / "d.onnx").unlink()
    with pytest.raises(PageError, match=r"d\.onnx"):
        write_page(tmp_path / "out", card)
    with pytest.raises(PageError, match=r"nowhere\.json"):
        write_page(tmp_path / "out", tmp_path / "nowhere.json")
    (tmp_path / "package/page/static/index.html").unlink()
    with pytest.raises(PageError, match="make page"):
        write_page(tmp_path / "out", card)


def test_a_folder_that_cannot_be_made_is_named(card: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PageError, match="file"):
        write_page(tmp_path / "file" / "folder", card)


def test_a_taken_port_is_named(card: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PageError, match=str(port)):
            serve_page(card, port, open_browser=False)


SERVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
from pathlib import Path
from pitch_timbre import page_server
page_server.files = lambda name: Path({package!r})
page_server.serve_page(Path({card!r}), open_browser=False)
"""


def test_the_server_gives_the_page_until_it_is_interrupted(card: Path, tmp_path: Path) -> None:
    code = SERVER.format(package=str(tmp_path / "package"), card=str(card))
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())
        assert address
        with urllib.request.urlopen(address[0]) as answer:
            assert answer.read() == b"<p>page</p>"
        with urllib.request.urlopen(address[0] + "model.js") as answer:
            assert answer.read().startswith(b"const pitchTimbreModel")
        server.send_signal(2)
        _, complaints = server.communicate(timeout=60)
        assert server.returncode == 0
        assert complaints == ""
    finally:
        server.kill()
