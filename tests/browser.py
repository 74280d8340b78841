"""Debian's Chromium without a screen, driven as a person would; what it saw is kept in build/screenshots."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import wait
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

REMEDY = "sudo apt-get install chromium chromium-driver"
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"

# The last ones keep it from asking for updates and suggestions in the wide world.
_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,2000"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-quic",
    # Without a graphics card, whatever moves takes a core from everything else.
    *("--disable-webgl", "--disable-webgl2", "--force-prefers-reduced-motion"),
)


class Browser:
    """A browser window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str, *, until: str) -> None:
        """Go to an address, and wait for a text on its page.

        A page of Prefect asks its server once and stays empty without an answer, which does not come while the server
        waits for SQLite, up to a minute. Then it is loaded again, as a person does.
        """
        for _ in range(2):
            self.driver.get(address)
            with contextlib.suppress(AssertionError):
                return self.wait_for(until, timeout=40)
        self.driver.get(address)
        return self.wait_for(until)

    def leave(self) -> None:
        """Go to an empty page: what moves on one without a graphics card takes a core from everything else."""
        self.driver.get("about:blank")

    @property
    def text(self) -> str:
        with contextlib.suppress(StaleElementReferenceException):
            return self.driver.find_element(By.TAG_NAME, "body").text
        return ""

    def wait_for(self, text: str, timeout: float = 60) -> None:
        wait(lambda: text in self.text, timeout, lambda: f"no {text!r} on {self.driver.current_url}: {self.text}")

    def click(self, label: str) -> None:
        """Click the button, link or tab of that text."""
        path = f"//*[self::button or self::a or @role='tab' or @role='menuitem'][normalize-space()='{label}']"
        wait(lambda: bool(self._shown(path)), 30, lambda: f"no {label!r} to click: {self.text}")
        self._shown(path)[-1].click()

    def _shown(self, path: str) -> list[WebElement]:
        return [found for found in self.driver.find_elements(By.XPATH, path) if found.is_displayed()]

    def field(self, label: str) -> WebElement:
        """The control of a form that goes by that label."""
        start = f"//span[contains(@class, 'schema-form-property__label') and normalize-space()='{label}']"
        whole = "ancestor::div[contains(concat(@class, ' '), 'schema-form-property ')][1]"
        path = f"{start}/{whole}//*[self::input or self::textarea or self::select]"
        wait(lambda: bool(self.driver.find_elements(By.XPATH, path)), 30, lambda: f"no field {label!r}: {self.text}")
        return self.driver.find_elements(By.XPATH, path)[0]

    def fill(self, label: str, value: str) -> None:
        control = self.field(label)
        control.send_keys(Keys.CONTROL, "a")
        control.send_keys(value)

    def choices(self, label: str) -> list[str]:
        """What a dropdown offers."""
        return [option.get_attribute("textContent").strip() for option in Select(self.field(label)).options]

    def labels(self) -> list[str]:
        """The labels of all fields of a form."""
        found = self.driver.find_elements(By.CSS_SELECTOR, ".schema-form-property__label")
        return [one.text for one in found]

    def keep(self, name: str) -> None:
        """Keep what is seen, the whole height of the page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(f"Chromium is not installed; {REMEDY}")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    # Named, so that Selenium does not look for one to download.
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(window)
    finally:
        window.quit()
