"""Windows that begin with the clock's minute, hour, day, week, month or year, in a zone of the rule's choice.

A day of summer time has 23 or 25 hours here, and February is as long as it is. Edges are computed in this
process and sent along, four of them around now, so that the server's clock still picks the window.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from twelvefold.systems.limiter.contracts import Calendar, RuleRefusedError
from twelvefold.systems.limiter.rules.plan import US

_EDGES_BEFORE: Final = 1
_EDGES: Final = 4


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The zone. Raises `RuleRefusedError` for a name that the time-zone database does not know."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise RuleRefusedError(
            f"'{name}' is no time zone",
            field="zone",
            hint="write it as Europe/Berlin, or leave it out for UTC",
        ) from error


@lru_cache(maxsize=1024)
def edges(calendar: Calendar, zone: str, hour_number: int) -> tuple[int, ...]:
    """Four window starts in microseconds since 1970: before, of, and after the hour `hour_number`.

    The first is at most the hour's beginning and the last two lie behind its end for all windows of an
    hour and more; windows of a minute are counted without a calendar.
    """
    moment = datetime.fromtimestamp(hour_number * 3600, UTC).astimezone(zone_of(zone))
    start = _floor(calendar, moment)
    starts = [_step(calendar, start, number - _EDGES_BEFORE) for number in range(_EDGES)]
    return tuple(int(edge.timestamp()) * US for edge in starts)


def window_of(edges_us: tuple[int, ...], now_us: int) -> tuple[int, int]:
    """The window among `edges_us` that holds `now_us`; the nearest one for a moment outside all."""
    for index in range(len(edges_us) - 2, 0, -1):
        if now_us >= edges_us[index]:
            return edges_us[index], edges_us[index + 1]
    return edges_us[0], edges_us[1]


def _floor(calendar: Calendar, moment: datetime) -> datetime:
    if calendar == "minute":
        return moment.replace(second=0, microsecond=0)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if calendar == "hour":
        return hour
    day = hour.replace(hour=0, fold=0)
    if calendar == "day":
        return day
    if calendar == "week":
        return day - timedelta(days=day.weekday())
    month = day.replace(day=1)
    return month if calendar == "month" else month.replace(month=1)


def _step(calendar: Calendar, start: datetime, count: int) -> datetime:
    if calendar in ("minute", "hour"):
        length = timedelta(minutes=1) if calendar == "minute" else timedelta(hours=1)
        return (start.astimezone(UTC) + count * length).astimezone(start.tzinfo)
    if calendar in ("day", "week"):
        # Wall-clock arithmetic: the same midnight, however long the day.
        return (start + timedelta(days=count * (7 if calendar == "week" else 1))).replace(fold=0)
    months = start.year * 12 + start.month - 1 + count * (12 if calendar == "year" else 1)
    return start.replace(year=months // 12, month=months % 12 + 1, fold=0)
