"""Several rules in one check, of whatever modes: all are debited, or none when one refuses.

Rules that this process decides come first, as they are free; the exact ones go to the shared state
together, in one script that checks all and then debits all. Whoever was debited before a refusal is
given back; a rule that was not asked, because another had refused already, stands in nobody's way.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Decision, Outcome, Verdict
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.service.decisions import unasked, verdict_of

Asked = tuple[Bound, bytes, int]


class Joint:
    """One check of several rules on its way. `limiter` is the `Limiter` it belongs to."""

    def __init__(
        self, limiter: Any, tenant: TenantId, asked: Sequence[Asked], done: Callable[[Verdict], None]
    ) -> None:
        self._limiter = limiter
        self._tenant = tenant
        self._asked = asked
        self._done = done
        self._decisions: dict[int, Decision] = {}
        self._missing = 0
        self._exact: list[int] = []
        self._begun = False

    def begin(self) -> Verdict | None:
        """The verdict if all is known at once."""
        for place, (bound, key, cost) in enumerate(self._asked):
            self._missing += 1
            decision = self._limiter.decide_here(
                bound, key, cost, lambda made, place=place: self._arrived(place, made)
            )
            if decision is not None:
                self._decisions[place] = decision
                self._missing -= 1
                if not decision.allowed:
                    break
            elif bound.rule.mode == "exact":
                self._exact.append(place)
                self._missing -= 1
        self._begun = True
        return None if self._missing else self._go_on()

    def _arrived(self, place: int, decision: Decision) -> None:
        """A lease has come."""
        self._decisions[place] = decision
        self._missing -= 1
        if self._begun and not self._missing:
            verdict = self._go_on()
            if verdict is not None:
                self._done(verdict)

    def _go_on(self) -> Verdict | None:
        if self._refused() or not self._exact:
            return self._finish()
        asked = [self._asked[place] for place in self._exact]
        try:
            self._limiter.ask_shared(self._tenant, asked, self._answer, self._fault)
        except (EngineUnavailableError, OverloadedError) as error:
            self._degrade(error)
            return self._finish()
        return None

    def _answer(self, now_us: int, numbers: Sequence[int], at: int) -> None:
        for number, place in enumerate(self._exact):
            bound, key, cost = self._asked[place]
            start = at + 4 * number
            outcome = Outcome(numbers[start] == 1, *numbers[start + 1 : start + 4])
            if not outcome.allowed and cost:
                self._limiter.remember_refusal(bound, key, cost, outcome)
            self._decisions[place] = self._limiter.settle(bound, key, cost, outcome, now_us)
        self._done(self._finish())

    def _fault(self, error: Exception) -> None:
        self._degrade(error)
        self._done(self._finish())

    def _degrade(self, error: Exception) -> None:
        for place in self._exact:
            self._decisions[place] = self._limiter.degrade(*self._asked[place], error)

    def _refused(self) -> bool:
        return any(not decision.allowed for decision in self._decisions.values())

    def _finish(self) -> Verdict:
        if self._refused():
            for place, decision in self._decisions.items():
                bound, key, cost = self._asked[place]
                if bound.rule.mode != "exact" and not decision.over_limit and not decision.degraded:
                    self._limiter.give_here(bound, key, cost)
        for place, (bound, _, _) in enumerate(self._asked):
            if place not in self._decisions:
                self._decisions[place] = unasked(bound)
        return verdict_of([self._decisions[place] for place in range(len(self._asked))])
