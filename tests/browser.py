"""Headless Chromium for tests, and what a page asked for and complained about in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]

PATIENCE_S = 30.0
"""For what a page must show in the end."""


class Watch:
    """What the page asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.addresses: list[str] = []
        self._errors: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        page.on("console", lambda m: self._errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._errors.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.addresses.append(request.url))
        page.on("websocket", lambda socket: self.addresses.append(socket.url))

    def expect(self, pattern: str) -> None:
        """Announce a console error that belongs to the test."""
        self._expected.append(re.compile(pattern))

    @property
    def unexpected(self) -> list[str]:
        return [e for e in self._errors if not any(p.search(e) for p in self._expected)]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser; the test is skipped where none is installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on PATH; install it (Debian: apt-get install chromium)")
    # The default of 5 s is a matter of the machine's speed: it runs the whole product beside this.
    expect.set_options(timeout=PATIENCE_S * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(browser: Browser, locale: str = "en-US") -> AsyncIterator[Page]:
    """A fresh page of a person in São Paulo."""
    context = await browser.new_context(
        viewport={"width": 1440, "height": 900}, locale=locale, timezone_id="America/Sao_Paulo"
    )
    try:
        yield await context.new_page()
    finally:
        await context.close()


async def sign_in(page: Page, url: str, key: str, key_label: str = "Access key") -> None:
    await page.goto(url)
    await page.get_by_role("button", name=key_label).click()
    await page.get_by_label(key_label).fill(key)
    await page.keyboard.press("Enter")
