"""Where the page keeps what visitors upload: apart from other apps, and gone when it ends."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from asking import Visitor
from browsing import free_port, until_served
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def upload(port: int, page: subprocess.Popen, picture: bytes) -> Path:
    """Where a page put a picture, as soon as it is there."""
    address = f"http://127.0.0.1:{port}"
    until_served(address, page)
    visitor = Visitor(address)
    with contextlib.closing(visitor.http):
        return Path(visitor.upload("same.png", picture).json()[0])


@pytest.mark.slow
def test_a_page_that_ends_takes_its_uploads_along_and_no_others(tmp_path):
    drawn = io.BytesIO()
    Image.new("RGB", (8, 8), "#369").save(drawn, "PNG")
    own = os.environ | {"TMPDIR": str(tmp_path)}
    del own["GRADIO_TEMP_DIR"]
    ports = free_port(), free_port()
    command = [sys.executable, "app.py", "--backbone", str(tmp_path / "none"), "--port"]
    pages = [
        subprocess.Popen([*command, str(port)], cwd=ROOT, env=own, stdout=subprocess.DEVNULL)
        for port in ports
    ]
    try:
        first, second = (upload(*page, drawn.getvalue()) for page in zip(ports, pages, strict=True))
        assert first != second, "two apps must not share an upload"
        folder = next(path for path in tmp_path.iterdir() if first.is_relative_to(path))
        assert folder.stat().st_mode & 0o077 == 0, "nobody else on the machine may look"
        assert not (tmp_path / "gradio").exists(), "Gradio's usual folder is everybody's"
        pages[0].send_signal(signal.SIGTERM)
        assert pages[0].wait(30) == 0
        assert not folder.exists()
        assert second.exists()
    finally:
        for page in pages:
            page.kill()
            page.wait()
