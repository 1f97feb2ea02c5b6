"""Chromium driven over a page of `eomm view`: what a reader does, and what the page then holds."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WIDE, PHONE = (1280, 1000), (390, 844)


def start(folder):
    """A browser with a profile and a folder for what it saves."""
    places = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in places:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver are not on PATH; CI must have them")
        pytest.skip("chromium and chromedriver are not on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = places[0]
    for switch in [*SWITCHES.split(), f"--user-data-dir={folder / 'profile'}", f"--window-size={WIDE[0]},{WIDE[1]}"]:
        options.add_argument(switch)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(places[1]))


class Page:
    """An opened page."""

    def __init__(self, driver, address):
        self.driver = driver
        self.complaints()  # of the page before
        driver.get(address if "://" in str(address) else Path(address).as_uri())
        self.settle()

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def settle(self):
        """Wait until nothing is going on."""
        end = time.monotonic() + 60
        while self.js("return document.body.dataset.busy") != "0":
            assert time.monotonic() < end, (self.text("place"), self.driver.get_log("browser"))
            time.sleep(0.05)

    def text(self, name):
        return self.js("return document.getElementById(arguments[0]).textContent", name)

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def press(self, name):
        self.find(name).click()
        self.settle()

    def choose(self, name, words):
        Select(self.find(name)).select_by_visible_text(words)
        self.settle()

    def to_date(self, date):
        """Move the slider by its keys."""
        slider = self.find("slider")
        slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * date)
        self.settle()

    def pick(self, name):
        self.driver.find_element(By.CSS_SELECTOR, f"#picks .{name} span").click()

    def pointer(self, row, col, shape, name="map-embedding"):
        """Move the pointer onto the middle of a pixel of a map; `perform` what follows."""
        place = self.find(name)
        self.js("arguments[0].scrollIntoView({block: 'center'})", place)
        box = place.rect
        dx = ((col + 0.5) / shape[1] - 0.5) * box["width"]
        dy = ((row + 0.5) / shape[0] - 0.5) * box["height"]
        return ActionChains(self.driver).move_to_element_with_offset(place, round(dx), round(dy))

    def click(self, row, col, shape):
        self.pointer(row, col, shape).click().perform()
        time.sleep(0.05)  # a tap may be the first of two
        self.settle()

    def series(self, chart, pick):
        """{date: value} of a chart's line."""
        code = "const x = Bokeh.documents.at(-1).get_model_by_name(arguments[0]).data; return [[...x.date], [...x.y]]"
        return dict(zip(*self.js(code, f"{chart}-{pick}"), strict=True))

    def image(self, name):
        """RGBA of a map, uint8 [y, x, 4]."""
        code = (
            "const a = Bokeh.documents.at(-1).get_model_by_name(arguments[0]).data.image[0]; return [a.shape, [...a]]"
        )
        shape, pixels = self.js(code, f"image-{name}")
        return np.array(pixels, np.uint32).astype("<u4").view(np.uint8).reshape(*shape, 4)

    def saved(self, folder, button, pattern):
        """The file that a button saves."""
        self.press(button)
        end = time.monotonic() + 60
        while not (files := list(folder.glob(pattern))):
            assert time.monotonic() < end, list(folder.iterdir())
            time.sleep(0.05)
        return files[0]

    def complaints(self):
        """What the browser logged above mere information."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
