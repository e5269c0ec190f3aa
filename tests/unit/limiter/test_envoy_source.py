"""Whatever stands in a YAML of envoyproxy/ratelimit's kind, it is understood or refused with the place, and nothing else."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.systems.limiter.contracts import RuleRefusedError
from twelvefold.systems.limiter.rules.envoy import compile_domain

LIMIT = "domain: shop\ndescriptors:\n  - key: user\n    rate_limit: {unit: hour, requests_per_unit: 3}\n"


def test_a_value_that_looks_like_a_date_or_a_number_is_the_text_that_envoy_sends() -> None:
    source = LIMIT.replace("key: user", "key: day\n    value: 2020-01-01")
    assert compile_domain(source).match([("day", "2020-01-01")]) is not None
    assert compile_domain(LIMIT.replace("key: user", "key: code\n    value: 404")).match([("code", "404")])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (LIMIT.replace("3}", "3, replaces: 5}"), "replaces is a list"),
        (LIMIT.replace("3}", "3, algorithm: concurrency}"), "places cannot be limited"),
        (LIMIT.replace("3}", "3, requests_per_unit: 9}"), "line 4: 'requests_per_unit' stands there twice"),
        (LIMIT + "domain: other\n", "line 5: 'domain' stands there twice"),
        ('domain: !!int "zz"', "not what its tag says"),
        ('domain: !!float "abc"', "not what its tag says"),
        ("domain: !!timestamp 2020-99-99", "not what its tag says"),
        ("domain: !!bool maybe", "not what its tag says"),
        ("domain: 2020-99-99\ndescriptors: [5]", "a mapping of keys"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(source: str, said: str) -> None:
    with pytest.raises(RuleRefusedError, match=said) as refused:
        compile_domain(source)
    assert refused.value.field == "source"


scalars = st.sampled_from(
    ["1", "-1", "1.5", ".nan", "x", "''", "true", "null", "2020-99-99", "!!int x", "[1]", "{a: b}", "!!set {a}", "&a b",
     "*a", "9" * 30, "1e400", "0x", "!!binary '@'", "user", "hour", "rule"]
)  # fmt: skip
names = st.sampled_from(
    ["domain", "descriptors", "key", "value", "rate_limit", "unit", "requests_per_unit", "replaces", "name", "rule", "burst",
     "algorithm", "mode", "failure", "unlimited", "unit_multiplier", "shadow_mode", "share_threshold"]
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.dictionaries(names, inner, max_size=5).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        trees,
        trees.map(lambda tree: f"domain: d\ndescriptors: [{{key: a, rate_limit: {tree}}}]"),
        st.text(max_size=80),
    )
)
def test_any_text_compiles_or_is_refused(source: str) -> None:
    with contextlib.suppress(RuleRefusedError):
        compile_domain(source)
