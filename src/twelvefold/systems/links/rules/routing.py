"""Routing: which of a link's addresses a visitor gets.

Rules are tried in their order; the first whose conditions all hold decides, and the link's own
address is the default. A weighted choice is made from one draw in [0, 1) that comes in as an
argument, so that it can be replayed.
"""

from collections.abc import Mapping, Sequence

import msgspec

from twelvefold.systems.links.contracts import Rule, When


class Visitor(msgspec.Struct, frozen=True):
    """What the rules may ask about a visitor."""

    country: str
    """ISO 3166 alpha-2 in upper case, or empty."""
    device: str
    languages: tuple[str, ...]
    """BCP 47 tags in the order of preference, lower case."""
    query: Mapping[str, str]


def choose(url: str, rules: Sequence[Rule], visitor: Visitor, draw: float) -> str:
    """The address for this visitor."""
    for rule in rules:
        if matches(rule.when, visitor):
            return _weighted(rule, draw)
    return url


def matches(when: When, visitor: Visitor) -> bool:
    """Whether all given conditions hold."""
    if when.country and visitor.country.upper() not in {country.upper() for country in when.country}:
        return False
    if when.device and visitor.device not in when.device:
        return False
    if when.language and not any(_speaks(wanted.lower(), visitor.languages) for wanted in when.language):
        return False
    return all(visitor.query.get(name) == value for name, value in when.query.items())


def accepted_languages(header: str) -> tuple[str, ...]:
    """`Accept-Language` as tags by falling weight (RFC 9110, 12.5.4); what cannot be read is left out."""
    weighted: list[tuple[float, int, str]] = []
    for position, part in enumerate(header.split(",")[:20]):
        tag, _, parameter = part.strip().partition(";")
        weight = 1.0
        if parameter.strip().startswith("q="):
            try:
                weight = float(parameter.strip()[2:])
            except ValueError:
                continue
        if tag and 0 < weight <= 1:
            weighted.append((-weight, position, tag.strip().lower()))
    return tuple(tag for _, _, tag in sorted(weighted))


def _speaks(wanted: str, languages: Sequence[str]) -> bool:
    return any(tag == wanted or tag.startswith(f"{wanted}-") for tag in languages)


def _weighted(rule: Rule, draw: float) -> str:
    point = draw * sum(target.weight for target in rule.targets)
    for target in rule.targets:
        point -= target.weight
        if point < 0:
            return target.url
    return rule.targets[-1].url
