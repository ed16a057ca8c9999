"""The page in a headless Chromium: opened from disk, files dropped on it, keys pressed, and its sound measured."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile

import pitch_timbre
from datamodules.sources.embedded import SAMPLE_RATE, render_note
from pitch_timbre.page_server import write_page

selenium = pytest.importorskip("selenium", reason="the page's tests need selenium: make setup")
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

PACKAGE = Path(__file__).resolve().parents[2] / "pitch_timbre"
CARD = sorted((PACKAGE / "models").glob("*.json"))
BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not BROWSER or not DRIVER, reason="no chromium and chromedriver: apt-get install chromium-driver"
    ),
    pytest.mark.skipif(not (PACKAGE / "page/static/index.html").exists(), reason="the page is not built: make page"),
]

SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
]


class Page:
    """A browser that shows the page, and what a person does with it."""

    def __init__(self, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        options = ChromeOptions()
        options.binary_location = BROWSER or ""
        for switch in (*SWITCHES, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        self.driver = Chrome(options=options, service=ChromeService(DRIVER))
        self.driver.get(write_page(folder / "page", CARD[0])[0].as_uri())
        self.wait(lambda: "ready" in self.run("return {...document.documentElement.dataset}"))

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def wait(self, done: Callable[[], Any], seconds: float = 60) -> Any:
        """Ask again until there is an answer; the limit is only for what never comes."""
        end = time.monotonic() + seconds
        while not (answer := done()):
            assert time.monotonic() < end, f"nothing after {seconds} s; the page says: {self.status}"
            time.sleep(0.05)
        return answer

    @property
    def status(self) -> str:
        return self.run("return document.getElementById('status').textContent")

    @property
    def is_error(self) -> bool:
        return self.run("return document.getElementById('status').classList.contains('error')")

    def drop(self, *paths: Path, slot: int = 0) -> str:
        """Drop files as the desktop would, on a slot; returns what the page says then."""
        box = self.run(f"return document.querySelectorAll('.slot')[{slot}].getBoundingClientRect().toJSON()")
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            place = {"x": box["x"] + 20, "y": box["y"] + 20}
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
        return self.wait(lambda: (said := self.status) and paths[-1].name in said and "Reading" not in said and said)

    def text(self, selector: str) -> str:
        return self.driver.find_element(By.CSS_SELECTOR, selector).text

    def click(self, text: str, within: str = "body") -> None:
        found = self.driver.find_element(By.CSS_SELECTOR, within)
        found.find_element(By.XPATH, f".//button[contains(., '{text}')]").click()

    def press(self, midi: int) -> None:
        key = self.driver.find_element(By.CSS_SELECTOR, f'[data-midi="{midi}"]')
        ActionChains(self.driver).click_and_hold(key).pause(0.1).release().perform()
        self.wait(lambda: not self.run("return document.getElementById('save').disabled"))

    def saved(self) -> tuple[np.ndarray, int]:
        """The last sound, through the page's own button."""
        for old in self.downloads.iterdir():
            old.unlink()
        self.click("Save")
        path = self.wait(lambda: next(self.downloads.glob("*.wav"), None))
        self.wait(lambda: self.status.startswith("Saved"))
        return soundfile.read(path)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("page"))
    yield page
    page.driver.quit()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for instrument, midi in (("trumpet", 69), ("cello", 50)):
        soundfile.write(folder / f"{instrument}.wav", render_note(instrument, midi, "mf", 1.5), SAMPLE_RATE)
    time_s = np.arange(2 * 44_100) / 44_100
    hz = librosa.midi_to_hz(64.2)
    tone = sum(np.sin(2 * np.pi * hz * n * time_s) / n for n in range(1, 9)) * 0.2
    soundfile.write(folder / "tone.wav", tone, 44_100)
    chord = sum(np.sin(2 * np.pi * librosa.midi_to_hz(m) * n * time_s) / n for m in (60, 64, 67) for n in range(1, 7))
    soundfile.write(folder / "chord.wav", chord * 0.1, 44_100)
    soundfile.write(folder / "decaying.wav", tone * np.exp(-3 * time_s), 44_100)
    soundfile.write(folder / "antiphase.wav", np.stack([tone, -tone], 1), 44_100)
    soundfile.write(folder / "long.wav", np.tile(tone, 30), 44_100)
    soundfile.write(folder / "silence.wav", np.zeros(44_100), 44_100)
    (folder / "text.wav").write_text("This is text.\n")
    (folder / "empty.wav").write_bytes(b"")
    return folder


def heard_midi(samples: np.ndarray, rate: int) -> float:
    """The pitch by an outside tracker: the median over the middle of a sound."""
    middle = samples[rate // 4 : len(samples) // 2]
    f0 = librosa.yin(middle, fmin=30, fmax=4000, sr=rate, frame_length=8192)
    return float(np.median(librosa.hz_to_midi(f0)))


@pytest.mark.parametrize(
    ("name", "note", "cents"), [("tone", "E4", 20), ("antiphase", "E4", 20), ("trumpet", "A4", None)]
)
def test_a_dropped_recording_shows_its_note(page: Page, sounds: Path, name: str, note: str, cents: int | None) -> None:
    page.drop(sounds / f"{name}.wav")
    assert not page.is_error
    assert page.driver.find_element(By.CSS_SELECTOR, ".slot strong").text == note
    if cents is not None:
        shown = page.driver.find_element(By.CSS_SELECTOR, ".slot em").text
        assert abs(int(shown.split()[0]) - cents) <= 3
        assert "sharp" in shown


@pytest.mark.parametrize("name", ["tone", "trumpet", "cello", "chord", "decaying"])
def test_the_page_hears_what_the_package_hears(page: Page, sounds: Path, name: str) -> None:
    """The rules are written twice, in the page's language and in the package's."""
    page.drop(sounds / f"{name}.wav")
    expected = pitch_timbre.load().analyse(sounds / f"{name}.wav")
    assert page.text(".slot strong") == expected.note.replace("#", "♯")
    tuning = page.text(".slot em").replace("in tune", "0 cents sharp").split()
    cents = int(tuning[0]) * (1 if tuning[2] == "sharp" else -1)
    assert abs(cents - expected.cents) <= 3
    facts = page.text(".slot .facts")
    sure, agree = (int(share) for share in re.findall(r"(\d+) %", facts))
    # The browser's resampler is another one; where the frames differ, that shows.
    assert abs(sure - 100 * expected.confidence) <= 6
    assert abs(agree - 100 * expected.agreement) <= 6
    assert ("Uncertain" in facts) == (expected.status == "uncertain")


@pytest.mark.parametrize("midi", [40, 60, 81])
def test_a_recordings_timbre_sounds_at_the_key_pressed(page: Page, sounds: Path, midi: int) -> None:
    page.drop(sounds / "trumpet.wav")
    page.press(midi)
    samples, rate = page.saved()
    assert abs(heard_midi(samples, rate) - midi) < 0.5
    assert 0.01 < np.abs(samples).max() < 1
    # Neither end is cut off in the middle of a wave.
    assert np.abs(samples[:8]).max() < 0.01
    assert np.abs(samples[-8:]).max() < 0.001


def test_each_recording_sounds_in_the_others_timbre_at_its_own_pitch(page: Page, sounds: Path) -> None:
    page.drop(sounds / "trumpet.wav", sounds / "cello.wav")
    for slot, (other, midi) in enumerate([("B", 69), ("A", 50)], start=1):
        page.click(f"In {other}", within=f".slot:nth-child({slot})")
        assert abs(heard_midi(*page.saved()) - midi) < 0.5


@pytest.mark.parametrize("midi", [45, 67])
def test_the_sound_has_the_spectrum_that_the_decoder_made(page: Page, midi: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    card = json.loads(CARD[0].read_text())
    page.click("clarinet")
    page.press(midi)
    samples, rate = page.saved()
    sound = librosa.resample(samples, orig_sr=rate, target_sr=card["sample_rate"])
    mel = librosa.feature.melspectrogram(
        y=sound, sr=card["sample_rate"], n_fft=2048, hop_length=256, n_mels=256, fmin=20, fmax=11_000
    )
    sounding = 10 * np.log10(mel[:, 20:120].mean(1) + 1e-15)

    z = np.float32([note["timbre"] for note in card["examples"] if note["instrument"] == "clarinet"])
    pitch = np.zeros((len(z), card["n_categories"]), np.float32)
    pitch[:, midi - card["midi_of_category_0"]] = 1
    decoder = onnxruntime.InferenceSession(CARD[0].with_name(card["files"]["decoder"]["name"]))
    frames = decoder.run(["frames"], {"timbre": z, "pitch": pitch})[0]
    made = 10 / np.log(10) * ((frames + 1) / 2 * (card["scale_high"] - card["scale_low"]) + card["scale_low"])
    below, above = (np.pad(made, ((0, 0), (1, 1)))[:, side] for side in (slice(None, -2), slice(2, None)))
    partials = (made >= below) & (made >= above) & (made > made.max(1, keepdims=True) - 40)
    apart = np.where(partials, made - sounding, np.nan)
    apart -= np.nanmedian(apart, axis=1, keepdims=True)  # the page plays all timbres at one level
    # The button's timbre is one of these notes'; another one of them is further away.
    assert np.nanmean(np.abs(apart), axis=1).min() < 2.5


@pytest.mark.parametrize("name", ["text", "empty", "silence"])
def test_a_file_without_a_note_gets_one_line_and_stops_nothing(page: Page, sounds: Path, name: str) -> None:
    said = page.drop(sounds / f"{name}.wav")
    assert page.is_error
    assert "\n" not in said
    page.drop(sounds / "tone.wav")
    assert not page.is_error


def test_of_a_long_file_the_beginning_is_used(page: Page, sounds: Path) -> None:
    said = page.drop(sounds / "long.wav")
    assert not page.is_error
    assert "60 s" in said
    assert "30 s" in said


def test_keys_do_what_the_mouse_does(page: Page) -> None:
    def type_keys(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()

    def focused(attribute: str) -> str:
        return page.driver.switch_to.active_element.get_attribute(attribute) or ""

    page.run("document.querySelector('.knob').focus()")
    before = page.run("return document.querySelector('.knob').style.left")
    type_keys(Keys.ARROW_RIGHT)
    assert page.run("return document.querySelector('.knob').style.left") != before
    assert focused("aria-valuetext")

    page.run("document.querySelector('.key[tabindex=\"0\"]').focus()")
    first = int(focused("data-midi"))
    type_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert int(focused("data-midi")) == first + 13
    for key, midi in ((Keys.SPACE, first + 13), ("d", 64)):
        ActionChains(page.driver).key_down(key).perform()
        assert page.run("return [...document.querySelectorAll('.key.down')].map((key) => +key.dataset.midi)") == [midi]
        ActionChains(page.driver).key_up(key).perform()
        assert not page.run("return document.querySelectorAll('.key.down').length")


def test_dragging_in_the_plane_changes_what_the_keys_play(page: Page) -> None:
    page.click("flute")
    page.press(60)
    flute, _ = page.saved()
    plane = page.driver.find_element(By.ID, "plane")
    drag = ActionChains(page.driver).move_to_element_with_offset(plane, -150, -80).click_and_hold()
    drag.move_by_offset(40, 60).move_by_offset(40, 60).release().perform()
    knob, box = page.driver.find_element(By.CSS_SELECTOR, ".knob").rect, plane.rect
    assert abs(knob["x"] + knob["width"] / 2 - (box["x"] + box["width"] / 2 - 70)) < 4
    assert abs(knob["y"] + knob["height"] / 2 - (box["y"] + box["height"] / 2 + 40)) < 4
    page.press(60)
    other, rate = page.saved()
    assert np.abs(other - flute).max() > 0.05
    assert abs(heard_midi(other, rate) - 60) < 0.5


MIDI_INSTRUMENT = """
const input = {name: 'Test keys'};
navigator.requestMIDIAccess = async () => ({inputs: new Map([['1', input]])});
window.testMidi = (...data) => input.onmidimessage({data: new Uint8Array(data), timeStamp: performance.now()});
"""


def test_a_midi_instrument_plays(page: Page) -> None:
    """The browser's own access asks for a permission that no test can give; the messages are those of a keyboard."""
    page.run(MIDI_INSTRUMENT)
    page.click("Connect MIDI")
    page.wait(lambda: "Test keys" in page.status)
    down = "return [...document.querySelectorAll('.key.down')].map((key) => +key.dataset.midi)"
    page.run("testMidi(0x90, 62, 80); testMidi(0x90, 10, 80); testMidi(0xb0, 64, 127)")
    assert page.run(down) == [62]
    page.run("testMidi(0x90, 62, 0)")  # a note that is struck with velocity 0 is let go
    assert page.run(down) == []


def test_everything_to_be_operated_has_a_name(page: Page) -> None:
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "slider", "image", "group", "status"}
    named = [node for node in nodes if node.get("role", {}).get("value") in roles - {"status"} and not node["ignored"]]
    assert len(named) > 100
    assert [node for node in named if not node.get("name", {}).get("value")] == []
    assert page.run("return document.getElementById('status').getAttribute('aria-live')") == "polite"


def test_nothing_is_fetched_and_nothing_complained_of(page: Page) -> None:
    """In opening the page, and in all that the tests before this one did with it."""
    sent = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    requests = [each["params"] for each in sent if each["method"] == "Network.requestWillBeSent"]
    urls = [each["request"]["url"] for each in requests if each["documentURL"].startswith("file:")]
    assert len(urls) >= 5
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}
    assert [entry for entry in page.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")] == []
