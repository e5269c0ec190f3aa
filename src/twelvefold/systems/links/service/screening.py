"""Screening: what one call may link to. Made once a call, since a bulk call asks ten thousand times."""

from collections.abc import Collection, Sequence

import msgspec

from twelvefold.systems.links.contracts import Rule
from twelvefold.systems.links.rules.targets import checked_target


class Screening(msgspec.Struct, frozen=True):
    """The hosts that a call's links must not lead to."""

    own_hosts: Collection[str]
    blocked_hosts: Collection[str]

    def target(self, url: str, field: str = "url") -> str:
        """The address as it will be stored. Raises `TargetRefusedError`."""
        return checked_target(url, own_hosts=self.own_hosts, blocked_hosts=self.blocked_hosts, field=field)

    def rules(self, rules: Sequence[Rule]) -> tuple[Rule, ...]:
        """Rules with their targets as they will be stored. Raises `TargetRefusedError` naming the place."""
        if not rules:
            return ()
        return tuple(
            msgspec.structs.replace(
                rule,
                targets=tuple(
                    msgspec.structs.replace(
                        target, url=self.target(target.url, f"rules[{place}].targets[{number}].url")
                    )
                    for number, target in enumerate(rule.targets)
                ),
            )
            for place, rule in enumerate(rules)
        )
