"""The pictures of the documentation: a report's first screen with the worst claim open, light and dark.

pytest --robust --robust-html=report examples/quickstart/failing
python tests/browser/screenshots.py report docs/img
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT, SCALE = 1280, 1400, 1.5


def chromium() -> Any:
    """A browser without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def main(report: Path, pictures: Path) -> None:
    """Open the page in both colour schemes and keep what is seen first."""
    browser = chromium()
    for scheme in ("light", "dark"):
        told = {"features": [{"name": "prefers-color-scheme", "value": scheme}], "media": ""}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get((report / "index.html").resolve().as_uri())
        browser.execute_async_script(
            """document.querySelector(".what a").click(); // the evidence of the worst claim
            const done = arguments[0], shown = [...document.images].slice(0, 9);
            shown.forEach(i => { i.loading = 'eager'; });
            Promise.all(shown.map(i => i.decode())).then(done);"""
        )
        seen = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
        seen.quantize(128).save(pictures / f"report-{scheme}.png", optimize=True)
    browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
