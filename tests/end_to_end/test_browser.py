"""What a person does in Airflow's UI, in headless Chromium: connect a cluster, trigger a run, follow it to its end.

The tests follow one another: each goes on where the one before has left the UI. With FLEETCAST_SCREENSHOTS set to a
folder, the pictures of the documentation are written there (`make screenshots`).
"""

import math
import os
import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from tests.end_to_end.service import Airflow

pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.airflow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
BEGIN, NUM_DAYS, HORIZON = datetime(2024, 1, 1), 20, 24
CUTOFF = (BEGIN + timedelta(days=NUM_DAYS - 1, hours=-1)).isoformat()
PATIENCE = 300_000.0
"""Milliseconds for which an element may be missing; most of them appear within one."""
EXPECTED = "a date such as 2024-12-29, or a time such as 2024-12-29T23:00:00"

SPEC = f"""
name = "shops"
description = "Customers per hour of two shops"
freq = "1h"
season_lengths = [24]
horizon = {HORIZON}
recipe = "fast"
models = ["gru"]

[source]
uri = "../../customers.csv"

[overrides]
max_steps = 20
hidden_size = 8

[backtest]
origins = 1

[airflow]
connection = "typed_in"
"""


def lay_dags(root: Path) -> None:
    """Write the DAG file, a spec with its data, and a spec that cannot be used."""
    specs = root / "dags" / "specs"
    specs.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dags" / "fleetcast_dags.py", root / "dags")
    (specs / "shops.toml").write_text(SPEC)
    (specs / "typo.toml").write_text(SPEC.replace('"shops"', '"typo"').replace("horizon =", "horizons ="))
    rows = ["unique_id,ds,y"]
    for number, shop in enumerate(("harbour", "station")):
        for hour in range(24 * NUM_DAYS):
            level = 40 + 20 * number + 15 * math.sin(2 * math.pi * hour / 24) + (hour * 7919) % 7
            rows.append(f"{shop},{(BEGIN + timedelta(hours=hour)).isoformat()},{level:.2f}")
    (root / "customers.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(chromium: Browser, running_airflow: Any) -> Page:
    """The UI after the login, as the one user of `make up`."""
    from workers.airflow import standalone

    expect.set_options(timeout=PATIENCE)
    url = f"http://127.0.0.1:{running_airflow.port}"
    Airflow(running_airflow.http).wait_for_dags("shops__train", "typo__broken")
    page = chromium.new_page(base_url=url, viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto("/")
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(standalone.password(running_airflow.root))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Welcome")).to_be_visible()
    return page


def save(page: Page, name: str) -> None:
    """Write a picture of the documentation where it is asked for."""
    if folder := os.environ.get("FLEETCAST_SCREENSHOTS"):
        page.wait_for_timeout(1_000)  # transitions end
        page.screenshot(path=Path(folder) / f"airflow-{name}.png")


def press_test(page: Page) -> Response:
    """Press the test button of the connection, and return the answer of the API."""
    row = page.get_by_role("row").filter(has_text="typed_in")
    with page.expect_response(lambda answer: answer.url.endswith("/connections/test")) as answer:
        row.get_by_role("button", name="Test Connection").click()
    return answer.value


def test_connection_is_typed_into_its_form_and_tested_with_a_wrong_and_the_right_token(
    page: Page, ray_jobs_url: str
) -> None:
    address = urlsplit(ray_jobs_url)
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox").fill("Fleet")
    page.get_by_role("option", name="Fleetcast (Ray)").click()
    form.locator("input[name=connection_id]").fill("typed_in")
    for label in ("URL", "Token", "Port"):
        expect(form.get_by_text(label, exact=True)).to_be_visible()
    form.locator("input[name=host]").fill(f"http://{address.hostname}")
    form.locator("input[name=port]").fill(str(address.port))
    save(page, "connection")
    form.locator("input[name=password]").fill("not the token")
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()

    refused = press_test(page).json()
    assert refused["status"] is False
    assert "refuses the token (403)" in refused["message"]
    expect(page.get_by_text("refuses the token (403)").first).to_be_visible()

    page.get_by_role("row").filter(has_text="typed_in").get_by_role("button", name="Edit Connection").click()
    form.locator("input[name=password]").fill(_token())
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()
    accepted = press_test(page).json()
    assert accepted["status"] is True
    assert accepted["message"].endswith(f"answers at {ray_jobs_url} and accepts the token")
    expect(page.get_by_text("accepts the token").first).to_be_visible()


def test_form_says_what_a_cutoff_must_be_and_starts_nothing_with_another(page: Page, running_airflow: Any) -> None:
    page.goto("/dags/shops__train")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    cutoff = form.locator("#element_cutoff")
    cutoff.fill("2024-13-45")
    expect(form.get_by_text(EXPECTED)).to_be_visible()
    save(page, "form")
    with page.expect_response(
        lambda answer: answer.url.endswith("/dagRuns") and answer.request.method == "POST"
    ) as sent:
        # A message may lie over the button, which a person would close.
        form.get_by_test_id("trigger-dag-submit").dispatch_event("click")
    assert sent.value.status == 400
    assert EXPECTED in sent.value.json()["detail"]
    expect(page.get_by_text("Failed to Trigger Dag").first).to_be_visible()
    runs = running_airflow.http.get("/dags/shops__train/dagRuns").raise_for_status().json()
    assert runs["total_entries"] == 0


def test_run_from_the_form_is_followed_to_its_end_its_job_and_its_note(page: Page, running_airflow: Any) -> None:
    """The form is still open, with the wrong cutoff."""
    form = page.get_by_role("dialog")
    form.locator("#element_cutoff").fill(CUTOFF)
    form.get_by_test_id("trigger-dag-submit").dispatch_event("click")
    page.wait_for_url(re.compile(r"/dags/shops__train/runs/manual__[^/]+"))
    run = page.url.rstrip("/")
    expect(page.get_by_role("row").filter(has_text="Read and check")).to_be_visible()
    path = "/dags" + run.partition("/dags")[2].replace("/runs/", "/dagRuns/")
    done = Airflow(running_airflow.http).wait_for_end(path)
    assert done == {"features": "success", "train": "success", "backtest": "success"}
    expect(page.get_by_role("row").filter(has_text="Success")).to_have_count(3)
    save(page, "run")

    page.goto(f"{run}/tasks/backtest/xcom")
    note = page.get_by_role("row").filter(has_text="shops, train up to")
    expect(note).to_contain_text("series: 2 forecast (0 lagging) · 0 ended · 0 set aside")
    expect(note).to_contain_text("mean MASE")
    written = running_airflow.http.get(path).raise_for_status().json()["note"]
    assert written.startswith("**shops, train up to"), written
    assert "series: 2 forecast (0 lagging)" in written

    page.goto(f"{run}/tasks/train/details")
    link = page.get_by_role("link", name="Ray job")
    expect(link).to_be_visible()
    with page.context.expect_page() as opened:
        link.click()
    dashboard = opened.value
    dashboard.set_default_timeout(PATIENCE)
    dashboard.get_by_placeholder("Enter your authentication token").fill(_token())
    dashboard.get_by_role("button", name="Submit").click()
    expect(dashboard.get_by_text("SUCCEEDED").first).to_be_visible()
    dashboard.close()


def test_spec_that_cannot_be_used_is_red_and_says_why(page: Page) -> None:
    page.goto("/dags?name_pattern=typo")
    expect(page.get_by_role("link", name="typo__broken")).to_be_visible()
    page.goto("/dags/typo__broken/runs")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    page.goto("/dags/typo__broken")
    page.get_by_role("button", name="Dag Docs").click()
    expect(page.get_by_text("horizons").first).to_be_visible()


def _token() -> str:
    from workers.airflow.ray_token import read_token

    token = read_token()
    assert token
    return token
