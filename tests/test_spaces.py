"""What a Hugging Face Space needs of the app."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SPACE = """
import sys, types
log = []
def GPU(duration):
    def wrap(run):
        def wrapped(*given):
            log.append(duration)
            yield from run(*given)
        return wrapped
    return wrap
sys.modules["spaces"] = types.SimpleNamespace(GPU=GPU)
sys.path.insert(0, "tests")
import app
assert "torch" not in sys.modules, "spaces must come before torch"
from fake_engine import FakeEngine
from PIL import Image
from smola_demo.ui.api import Api
from smola_demo.ui.loading import EngineHandle
Image.new("RGB", (8, 8)).save(sys.argv[1])
file = {"path": sys.argv[1], "meta": {"_type": "gradio.FileData"}}
api = Api(EngineHandle.of(FakeEngine(layers=2)), app.gpu)
assert api.ask(file)["answer"] and api.sweep(file)["experts"] and api.info()["layers"] == [0, 1]
print(log)
"""


def test_calls_of_the_model_ask_for_the_gpu_and_others_do_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPACE, str(tmp_path / "x.png")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GRADIO_TEMP_DIR": str(tmp_path)},  # where Gradio puts uploads
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[120, 120]"


def test_without_spaces_the_generators_stay_as_they_are():
    import app

    assert app.spaces is not None or app.gpu(test_without_spaces_the_generators_stay_as_they_are) is (
        test_without_spaces_the_generators_stay_as_they_are
    )


def test_the_front_matter_is_a_space():
    front = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    facts = dict(re.findall(r"^(\w+): (.+)$", front, re.MULTILINE))
    assert facts["sdk"] == "gradio"
    assert facts["app_file"] == "app.py"
    assert facts["python_version"] == '"3.12"'
    assert facts["license"] == "apache-2.0"
    assert len(facts["short_description"]) <= 60
