"""The description of the API is whole, and the API keeps to it."""

import httpx2


def test_the_description_is_openapi_3_1_and_names_every_call(server):
    described = httpx2.get(f"{server.url}/openapi.json").raise_for_status().json()
    assert described["openapi"].startswith("3.1")
    for path in (
        "/v1/links",
        "/v1/links/bulk",
        "/v1/links/{code}/stats",
        "/v1/keys",
        "/v1/platform/status",
        "/v1/ids",
    ):
        assert path in described["paths"], sorted(described["paths"])
    for path, item in described["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
