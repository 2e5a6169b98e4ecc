"""Screenshots of every tab of a running page, small, into docs/screens/: python tests/make_screens.py URL

Needs requirements-dev.txt and a Chromium (CHROMIUM, or Debian's).
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent.parent / "docs" / "screens"
SCREENS = {
    "wide": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
TABS = {"ask": "Ask", "routing": "Routing", "ablate": "Ablate", "compare": "Compare", "model": "Model",
        "atlas": "Atlas", "truth": "Is it true?"}  # fmt: skip
MOST = {"wide": 2600, "dark": 2600, "phone": 3400}  # what is further down a page is left out
EXAMPLE = "#examples button >> nth=0"


def visit(page: Page) -> None:
    """An answer, an ablation with its ranking and a comparison, so that every tab has something to show."""
    page.set_default_timeout(300_000)
    page.wait_for_selector("#ask:not([disabled])")
    page.click(EXAMPLE)
    page.wait_for_selector("#picture img")
    page.click("#ask")
    page.wait_for_selector(".answer[data-state=done]:not([data-origin=recorded])")
    show(page, "ablate")
    page.locator("#picker [data-expert]").first.click()
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=done]")
    page.click("#rank")
    page.wait_for_selector(".ranking[data-state=done]")
    show(page, "compare")
    page.locator("#experts-b label", has_text="some taken out").click()
    page.locator("#spec-b :is(input, textarea)").first.fill("multimodal:0-3")
    page.click("#compare")
    page.wait_for_selector(".contrast[data-state=done]")


def show(page: Page, tab: str) -> None:
    """Bring a tab to the front; on a phone some stand behind the row's own menu."""
    found = page.locator(f"#tabs [role=tab][aria-controls='tab-{tab}']:visible")
    if found.count() == 0:
        page.locator("#tabs .overflow-menu > button").click()
        found = page.locator("#tabs .overflow-dropdown button", has_text=TABS[tab])
    found.first.click()
    page.wait_for_selector(f"#tab-{tab}", state="visible")


def shoot(page: Page, tab: str, screen: str) -> Path:
    """One tab as a WebP of half the size."""
    show(page, tab)
    for y in range(0, MOST[screen], 400):  # pictures draw themselves when they are first seen
        page.evaluate(f"window.scrollTo(0, {y})")
        page.wait_for_timeout(250)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(800)
    whole = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    part = whole.crop((0, 0, whole.width, min(whole.height, MOST[screen]))).convert("RGB")
    scale = 0.62 if screen != "phone" else 0.8
    path = FOLDER / f"{tab}-{screen}.webp"
    part.resize((round(part.width * scale), round(part.height * scale)), Image.Resampling.LANCZOS).save(
        path, quality=62, method=6
    )
    return path


def main(url: str) -> None:
    """All tabs on all screens."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for screen, options in SCREENS.items():
            page = browser.new_context(**options).new_page()
            page.goto(url)
            visit(page)
            for tab in TABS:
                made = shoot(page, tab, screen)
                print(made, made.stat().st_size, flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
