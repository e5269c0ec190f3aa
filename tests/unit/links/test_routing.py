"""Rules decide in their order; weights decide by one draw."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from twelvefold.systems.links.contracts import Rule, Target, When
from twelvefold.systems.links.rules.routing import Visitor, accepted_languages, choose, matches

GERMAN_PHONE = Visitor("DE", "mobile", ("de-at", "en"), {"ref": "x"})


def rule(url, **when):
    return Rule((Target(url),), When(**when))


def test_the_first_rule_that_matches_decides():
    rules = (rule("fr", country=("FR",)), rule("de", country=("de",)), rule("any"))
    assert choose("default", rules, GERMAN_PHONE, 0.5) == "de"


def test_without_a_match_the_links_own_address_is_taken():
    assert choose("default", (rule("fr", country=("FR",)),), GERMAN_PHONE, 0.5) == "default"


def test_all_conditions_of_a_rule_must_hold():
    assert matches(
        When(country=("DE",), device=("mobile",), language=("de",), query={"ref": "x"}), GERMAN_PHONE
    )
    assert not matches(When(country=("DE",), device=("desktop",)), GERMAN_PHONE)
    assert not matches(When(query={"ref": "y"}), GERMAN_PHONE)
    assert not matches(When(query={"utm": ""}), GERMAN_PHONE)


def test_a_language_matches_its_regions_but_not_its_namesakes():
    assert matches(When(language=("de",)), GERMAN_PHONE)
    assert matches(When(language=("DE-AT",)), GERMAN_PHONE)
    assert not matches(When(language=("de-ch",)), GERMAN_PHONE)
    assert not matches(When(language=("d",)), GERMAN_PHONE)


def test_languages_are_read_by_weight_and_rubbish_is_left_out():
    assert accepted_languages("en;q=0.5, de-DE, fr;q=0.9, *;q=0.1") == ("de-de", "fr", "en", "*")
    assert accepted_languages("") == ()
    assert accepted_languages("de;q=nonsense, en;q=0, fr") == ("fr",)


def test_draws_spread_over_targets_by_their_weights():
    split = (Rule((Target("a", 1), Target("b", 3))),)
    chosen = Counter(choose("", split, GERMAN_PHONE, step / 1000) for step in range(1000))
    assert chosen == {"a": 250, "b": 750}


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_every_draw_finds_a_target(weights, draw):
    targets = tuple(Target(str(place), weight) for place, weight in enumerate(weights))
    assert choose("", (Rule(targets),), GERMAN_PHONE, draw) in {target.url for target in targets}
