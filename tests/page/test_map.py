"""The map in a headless Chromium: one Tab stop, arrow keys, and a sound by Enter."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from pitch_timbre.cli import main
from tests.pitch_timbre.notes import RATE, tone

selenium = pytest.importorskip("selenium", reason="the page's tests need selenium: make setup")
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys  # noqa: E402

from tests.page.test_page import BROWSER, DRIVER, SWITCHES  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not BROWSER or not DRIVER, reason="no chromium and chromedriver: apt-get install chromium-driver"
    ),
]


def test_the_map_is_used_by_keyboard(tmp_path: Path) -> None:
    for midi in (50, 62, 74):
        soundfile.write(tmp_path / f"{midi}.wav", tone(midi, 0.3), RATE)
    assert main(["map", str(tmp_path), "-o", str(tmp_path / "map.html")]) == 0
    options = ChromeOptions()
    options.binary_location = BROWSER or ""
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(switch)
    driver = Chrome(options=options, service=ChromeService(DRIVER))
    try:
        driver.get((tmp_path / "map.html").as_uri())
        names = []
        for key in (Keys.TAB, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
            ActionChains(driver).send_keys(key).perform()
            names.append(driver.execute_script("return document.activeElement.getAttribute('aria-label')"))
        assert [name.split("/")[1].split(":")[0] for name in names] == [
            "50.wav", "62.wav", "74.wav", "50.wav", "74.wav",
        ]  # fmt: skip
        assert driver.find_element("id", "name").text == names[-1], "what has the focus is said"
        driver.execute_script("Audio.prototype.play = function () { window.played = this.src; }")
        ActionChains(driver).send_keys(Keys.ENTER).perform()
        assert driver.execute_script("return window.played.slice(0, 14)") == "data:audio/ogg"
        driver.execute_script("document.activeElement.blur()")
        ActionChains(driver).send_keys(Keys.TAB, Keys.TAB).perform()
        assert driver.execute_script("return document.activeElement.tagName") != "circle", "one stop for Tab"
    finally:
        driver.quit()
