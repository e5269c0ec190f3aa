"""`/v1/platform/systems/{name}`: a system's card, for the console, the guide and whoever is curious."""

from collections.abc import Mapping, Sequence

import msgspec
from litestar import Router, get
from litestar.params import FromPath

from twelvefold.kernel.blueprint import Blueprint, Connect, TradeOff
from twelvefold.kernel.errors import NotFoundError
from twelvefold.platform.drill_runs import DrillRun, last_run, recorded
from twelvefold.web.guard import requires


class SystemNotFoundError(NotFoundError):
    """No system has this name, or it does not run here."""

    code = "platform.system_not_found"


class GuaranteeView(msgspec.Struct, frozen=True, kw_only=True):
    """A promise, what proves it, and what came of that when it was last tried."""

    promise: str
    drill: str
    last_run: DrillRun | None


class BlueprintView(msgspec.Struct, frozen=True, kw_only=True):
    """The card, without its formulas."""

    name: str
    title: str
    group: str
    promise: str
    pitch: str
    signals: tuple[str, ...]
    checklist: tuple[str, ...]
    estimate: list[dict[str, str | float]]
    guarantees: tuple[GuaranteeView, ...]
    trade_offs: tuple[TradeOff, ...]
    connect: tuple[Connect, ...]


def blueprint_routes(blueprints: Sequence[Blueprint], base_url: str) -> Router:
    """The cards of the systems that run; recipes speak of `base_url`."""
    runs = recorded()
    views = {blueprint.name: _view(blueprint, base_url, runs) for blueprint in blueprints}

    @get("/{name:str}", guards=[requires("platform:read")], summary="A system's card")
    async def card(name: FromPath[str]) -> BlueprintView:
        if name not in views:
            raise SystemNotFoundError(field="name")
        return views[name]

    return Router("/v1/platform/systems", route_handlers=[card], tags=["Platform"])


def _view(blueprint: Blueprint, base_url: str, runs: Mapping[str, DrillRun]) -> BlueprintView:
    values = blueprint.estimate.values()
    ws_url = base_url.replace("http", "ws", 1)
    units = {line.name: line.unit for line in blueprint.estimate.lines}
    return BlueprintView(
        name=blueprint.name,
        title=blueprint.title,
        group=blueprint.group,
        promise=blueprint.promise,
        pitch=blueprint.pitch,
        signals=blueprint.signals,
        checklist=blueprint.checklist,
        estimate=[{"name": name, "unit": unit, "value": values[name]} for name, unit in units.items()],
        guarantees=tuple(
            GuaranteeView(promise=one.promise, drill=one.drill, last_run=last_run(one.drill, runs))
            for one in blueprint.guarantees
        ),
        trade_offs=blueprint.trade_offs,
        connect=tuple(
            Connect(
                client=recipe.client,
                how=recipe.how.format(base_url=base_url, ws_url=ws_url, api_key="YOUR_KEY"),
            )
            for recipe in blueprint.connect
        ),
    )
