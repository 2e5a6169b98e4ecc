"""Where the page keeps what visitors upload: apart from other apps, and gone when it ends."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from browsing import free_port
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def upload(address: str, picture: bytes) -> Path:
    """Where a page put a picture, as soon as it answers."""
    for _ in range(600):
        try:
            files = {"files": ("same.png", picture)}
            said = httpx.post(f"{address}/gradio_api/upload", files=files, timeout=60)
            return Path(said.raise_for_status().json()[0])
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"no page answered on {address} in two minutes")


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
        first, second = (upload(f"http://127.0.0.1:{port}", drawn.getvalue()) for port in ports)
        assert first != second, "two apps must not share an upload"
        folder = next(path for path in tmp_path.iterdir() if first.is_relative_to(path))
        assert folder.stat().st_mode & 0o077 == 0, "nobody else on the machine may look"
        pages[0].send_signal(signal.SIGTERM)
        assert pages[0].wait(30) == 0
        assert not folder.exists()
        assert second.exists()
    finally:
        for page in pages:
            page.kill()
            page.wait()
