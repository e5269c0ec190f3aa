"""The API's description and its reference page."""


async def test_the_description_is_openapi_3_1(ask):
    described = (await ask("GET", "/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    assert "/v1/things" in described["paths"]
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


async def test_every_operation_is_described_with_the_problem_it_can_answer_with(ask):
    described = (await ask("GET", "/openapi.json")).json()
    for item in described["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    (content,) = response["content"].items()
                    assert content == (
                        "application/problem+json",
                        {"schema": {"$ref": "#/components/schemas/Problem"}},
                    )
            assert "default" in operation["responses"]
    assert described["components"]["schemas"]["Problem"]["required"]


async def test_refused_fields_and_bounds_inside_of_lists_are_described(ask):
    schemas = (await ask("GET", "/openapi.json")).json()["components"]["schemas"]
    assert schemas["Thing"]["additionalProperties"] is False
    assert schemas["Thing"]["properties"]["sizes"]["items"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
    }


async def test_the_reference_needs_neither_scripts_nor_other_servers(ask):
    page = await ask("GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "//" not in page.text.replace("<!doctype", "")
    for told in ("/v1/things/{thing_id}", "POST", "name: string length ≤ 10", "limit"):
        assert told in page.text
    assert (await ask("GET", "/docs/style.css")).headers["content-type"].startswith("text/css")


def test_the_reference_escapes_what_it_shows():
    from twelvefold.web.description import page

    schema = {"type": "string", "format": "<b>"}
    operation = {
        "summary": "<script>", "tags": ["<i>"], "responses": {"200": {"content": {"<x>": {"schema": schema}}}},
        "parameters": [{"name": "<p>", "in": "query", "schema": schema, "description": "&"}],
    }  # fmt: skip
    described = {
        "info": {"title": "<t>", "version": "1"}, "components": {"schemas": {}}, "paths": {"/<y>": {"get": operation}},
    }  # fmt: skip
    shown = page(described).decode()
    for raw in ("<script>", "<i>", "<x>", "<p>&", "<b>", "<t>", "<y>"):
        assert raw not in shown
