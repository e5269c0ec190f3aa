"""Import from a file: every line becomes a link or a line of the report."""

import csv
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

LINKS = "/console/systems/links"


@pytest.fixture
def dialog(console: Page) -> Page:
    console.goto(LINKS)
    console.get_by_role("button", name="Import a file").click()
    return console


def choose(page: Page, path: Path, text: str) -> None:
    path.write_text(text, newline="")
    page.locator("input[type=file]").set_input_files(path)


def test_lines_become_links_and_bad_ones_a_report(dialog: Page, api: Any, tmp_path: Path) -> None:
    good = [f"https://example.com/{number}" for number in range(1200)]
    lines = [*good[:600], "javascript:alert(1)", "", *good[600:], "not an address"]
    choose(dialog, tmp_path / "in.txt", "\n".join(lines))
    expect(dialog.get_by_text("1,202 addresses")).to_be_visible()
    dialog.get_by_role("button", name="Import 1,202").click()
    expect(dialog.get_by_text("All 1,202 lines read")).to_be_visible()
    expect(dialog.get_by_text("1,200 made")).to_be_visible()
    with dialog.expect_download() as download:
        dialog.get_by_role("button", name="Download the bad lines").click()
    report = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [(line["line"], line["url"]) for line in report] == [
        ("601", "javascript:alert(1)"),
        ("1203", "not an address"),
    ]
    assert all(line["reason"] for line in report)
    assert api("GET", "/v1/links/stats")["links"] == 1200
    dialog.get_by_role("button", name="Done").click()
    expect(dialog.locator(".links-totals")).to_contain_text("1,200 links")


def test_the_columns_of_an_export_are_understood(dialog: Page, api: Any, tmp_path: Path) -> None:
    text = (
        "\ufeffkeyword,url,title,timestamp,ip,clicks\r\n"
        '"page-csv-1","https://example.com/a,b","A ""quoted"" title\nof two lines","2026",127.0.0.1,3\r\n'
        "page-csv-2,https://example.com/c,,,,\r\n"
    )
    choose(dialog, tmp_path / "yourls.csv", text)
    dialog.get_by_role("button", name="Import 2").click()
    expect(dialog.get_by_text("2 made")).to_be_visible()
    first = api("GET", "/v1/links/page-csv-1")
    assert first["url"] == "https://example.com/a,b"
    assert first["note"] == 'A "quoted" title\nof two lines'
    assert api("GET", "/v1/links/page-csv-2")["url"] == "https://example.com/c"


def test_an_import_that_reuses_links_makes_no_doubles_when_run_again(
    dialog: Page, api: Any, tmp_path: Path
) -> None:
    text = "\n".join(f"https://example.com/{number}" for number in range(20))
    for _ in range(2):
        choose(dialog, tmp_path / "twice.txt", text)
        dialog.get_by_label("Reuse existing links").check()
        dialog.get_by_role("button", name="Import 20").click()
        dialog.get_by_role("button", name="Done").click()
        dialog.get_by_role("button", name="Import a file").click()
    assert api("GET", "/v1/links/stats")["links"] == 20


def test_a_file_without_addresses_is_refused_in_words(dialog: Page, tmp_path: Path) -> None:
    choose(dialog, tmp_path / "empty.txt", "# nothing\n\n")
    expect(dialog.get_by_role("alert")).to_contain_text("No addresses in this file")
