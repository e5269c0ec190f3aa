"""A folder of envoyproxy/ratelimit's YAML: followed while it changes; what cannot be used changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.contracts import RuleRefusedError
from twelvefold.systems.limiter.envoy_folder import EnvoyFolder
from twelvefold.systems.limiter.rules.envoy import compile_domain

GOOD = "domain: {domain}\ndescriptors:\n  - key: user\n    rate_limit: {{unit: minute, requests_per_unit: {count}}}\n"


def limit_in(folder: EnvoyFolder, domain: str) -> int | None:
    found = folder.domains[DEFAULT_TENANT, domain].match([("user", "ann")])
    assert found is not None
    assert not isinstance(found.rule, str)
    return found.rule.limit


async def test_a_changed_new_or_removed_file_is_followed(
    tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD.format(domain="shop", count=5))
    folder, changes = EnvoyFolder(str(tmp_path)), 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    folder.on_change = changed
    await folder.start()
    try:
        assert limit_in(folder, "shop") == 5
        file.write_text(GOOD.format(domain="shop", count=70))
        (tmp_path / "deeper").mkdir()
        (tmp_path / "deeper" / "more.yml").write_text(GOOD.format(domain="more", count=1))
        await eventually(lambda: (DEFAULT_TENANT, "more") in folder.domains)
        await eventually(lambda: limit_in(folder, "shop") == 70)
        file.unlink()
        await eventually(lambda: (DEFAULT_TENANT, "shop") not in folder.domains)
        assert changes >= 3
    finally:
        await folder.close()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("domain: shop\ndescriptors: [", "line"),
        ("domain: shop\ndescriptors:\n  - key: user\n    rate_limit: {unit: fortnight}\n", "unit"),
        ("descriptors: []\n", "domain"),
        ("x" * 1_000_001, "bytes"),
        (b"domain: \xff\xfe", "decode"),
    ],
)
async def test_a_bad_file_keeps_the_rules_it_had_and_says_why(
    tmp_path: Path, bad: str | bytes, says: str
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD.format(domain="shop", count=5))
    folder = EnvoyFolder(str(tmp_path))
    await folder.look()
    file.write_bytes(bad.encode() if isinstance(bad, str) else bad)
    with capture_logs() as logs:
        await folder.look()
        await folder.look()
    assert limit_in(folder, "shop") == 5
    assert [line["event"] for line in logs] == ["limiter.envoy.refused"], "said once, not with every look"
    assert logs[0]["file"] == str(file)
    assert says in logs[0]["reason"]
    file.write_text(GOOD.format(domain="shop", count=6))
    await folder.look()
    assert limit_in(folder, "shop") == 6


async def test_a_folder_that_is_not_there_limits_nothing_until_it_comes(tmp_path: Path) -> None:
    folder = EnvoyFolder(str(tmp_path / "later"))
    await folder.look()
    assert folder.domains == {}
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "shop.yaml").write_text(GOOD.format(domain="shop", count=5))
    await folder.look()
    assert limit_in(folder, "shop") == 5


def test_a_descriptor_may_name_a_stored_rule_and_nothing_beside_it() -> None:
    source = "domain: d\ndescriptors:\n  - key: user\n    rate_limit: {rule: api, name: mine}\n"
    found = compile_domain(source).match([("user", "ann")])
    assert found is not None
    assert (found.rule, found.name) == ("api", "mine")
    for wrong in ("{rule: api, unit: minute}", "{rule: 5}", "{rule: ''}", "{rule: api, mode: leased}"):
        with pytest.raises(RuleRefusedError):
            compile_domain(source.replace("{rule: api, name: mine}", wrong))
    with pytest.raises(RuleRefusedError):
        compile_domain(source + "    shadow_mode: true\n")
