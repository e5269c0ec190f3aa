"""The console's files, as a browser asks for them."""

import gzip

import httpx2
import pytest

from twelvefold.web.application import Application

SCRIPT = "assets/index-4f2a.js"


@pytest.fixture
def folder(tmp_path):
    built = tmp_path / "static"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<!doctype html><title>console</title>")
    (built / SCRIPT).write_text("let a = 1;" * 100)
    (built / f"{SCRIPT}.gz").write_bytes(gzip.compress(b"let a = 1;" * 100))
    (built / f"{SCRIPT}.br").write_bytes(b"pretend this is brotli")
    (built / "favicon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("not for you")
    return built


@pytest.fixture
async def browse(folder):
    transport = httpx2.ASGITransport(app=Application(console=folder, version="1"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:

        async def browse(path, method="GET", **headers):
            headers.setdefault("accept_encoding", "identity")
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            async with client.stream(method, f"/console/{path}", headers=names) as response:
                response.raw = b"".join([part async for part in response.aiter_raw()])
                return response

        yield browse


async def test_the_page_is_checked_again_each_time_and_its_assets_never(browse):
    page = await browse("")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    script = await browse(SCRIPT)
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"].startswith("text/javascript")


async def test_what_has_not_changed_is_not_sent_again(browse):
    etag = (await browse("")).headers["etag"]
    again = await browse("", if_none_match=f'"other", {etag}')
    assert (again.status_code, again.raw) == (304, b"")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("br, gzip", "br"), ("gzip, deflate, br", "br"), ("gzip", "gzip"), ("gzip;q=1, br;q=0", "gzip"),
     ("br; q=0.0, gzip;q=0", None), ("identity", None), ("GZIP", "gzip"), ("zstd", None)],
)  # fmt: skip
async def test_the_best_encoding_that_the_browser_takes_is_sent(browse, accepted, coding):
    script = await browse(SCRIPT, accept_encoding=accepted)
    assert script.headers.get("content-encoding") == coding
    assert script.headers["vary"] == "accept-encoding"
    assert int(script.headers["content-length"]) == len(script.raw)
    if coding == "gzip":
        assert gzip.decompress(script.raw) == b"let a = 1;" * 100
    elif coding is None:
        assert script.raw == b"let a = 1;" * 100


async def test_every_answer_carries_the_strict_policy(browse):
    for path in ("", SCRIPT, "links", "nothing.js"):
        answer = await browse(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_addresses_of_pages_get_the_page_and_missing_files_do_not(browse):
    for path in ("links", "links/abc", "keys"):
        assert b"<title>console" in (await browse(path)).raw
    for path in ("nothing.js", "assets/index-old.js", f"{SCRIPT}.gz", f"{SCRIPT}.br"):
        assert (await browse(path)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "%2e%2e/secret.txt",
        "assets/..%2f..%2fsecret.txt",
        "/secret.txt",
        "..%5csecret.txt",
        "%00.js",
    ],
)
async def test_nothing_outside_the_folder_is_served(browse, path):
    answer = await browse(path)
    assert answer.status_code == 404 or b"<title>console" in answer.raw
    assert b"not for you" not in answer.raw


async def test_head_is_get_without_the_body(browse):
    full, head = await browse(SCRIPT), await browse(SCRIPT, method="HEAD")
    assert head.raw == b""
    assert head.headers["content-length"] == full.headers["content-length"]


async def test_a_checkout_without_the_build_says_how_to_build_it(tmp_path):
    folder = tmp_path / "static"
    transport = httpx2.ASGITransport(app=Application(console=folder, version="1"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        page = await client.get("/console/links")
        assert page.status_code == 503
        assert "make console" in page.text
        folder.mkdir()
        (folder / "index.html").write_text("built meanwhile")
        assert (await client.get("/console/links")).text == "built meanwhile"
