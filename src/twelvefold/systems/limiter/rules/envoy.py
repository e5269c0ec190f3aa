"""envoyproxy/ratelimit's configuration, compiled: a descriptor's entries are looked up, not searched.

The YAML is that project's own (`domain`, a tree of `descriptors` with `key`, `value`, `rate_limit`,
`shadow_mode`, `detailed_metric`, `share_threshold`), with more keys in `rate_limit`: `algorithm`, `mode` and
`failure`, or `rule`, the name of a stored rule that the other doors ask too. Its semantics are kept: a
descriptor matches by all of its entries in order, to exactly the depth of the node; an exact value beats a
value with a trailing `*`, the longest first, which beats a node without a value; `replaces` takes another
limit out of the request's other descriptors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import msgspec
import yaml

from twelvefold.systems.limiter.contracts import (
    Algorithm,
    Calendar,
    Failure,
    Mode,
    Rule,
    RuleRefusedError,
)
from twelvefold.systems.limiter.rules.plan import check_rule

Unit = Literal["second", "minute", "hour", "day", "week", "month", "year"]
UNIT_SECONDS: Final[Mapping[str, int]] = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 31 * 86_400,
    "year": 366 * 86_400,
}
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 16
_TOP = frozenset({"domain", "descriptors"})
_NODE = frozenset({
    "key", "value", "rate_limit", "descriptors", "shadow_mode", "detailed_metric", "value_to_metric", "share_threshold",
    "quota_mode",
})  # fmt: skip
_LIMIT = frozenset({
    "unit", "requests_per_unit", "unlimited", "name", "replaces", "algorithm", "mode", "failure", "burst", "unit_multiplier",
    "rule",
})  # fmt: skip


class EnvoyLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What a matching descriptor is held to. `share_prefix`: where its value is cut for a shared count."""

    rule: Rule | str
    """A rule of this descriptor's own, or the name of a stored one, whose key is the descriptor's values."""
    unit: str
    name: str = ""
    replaces: tuple[str, ...] = ()
    shadow: bool = False
    share_prefix: str | None = None


class Node:
    """One level of the tree."""

    __slots__ = ("any_value", "exact", "limit", "prefixes")

    def __init__(self) -> None:
        self.limit: EnvoyLimit | None = None
        self.exact: dict[tuple[str, str], Node] = {}
        self.any_value: dict[str, Node] = {}
        self.prefixes: dict[str, list[tuple[str, Node]]] = {}

    def child(self, key: str, value: str) -> "Node | None":
        """The most specific child for an entry."""
        found = self.exact.get((key, value))
        if found is not None:
            return found
        for prefix, node in self.prefixes.get(key, ()):
            if value.startswith(prefix):
                return node
        return self.any_value.get(key)


class EnvoyDomain:
    """A compiled domain."""

    __slots__ = ("domain", "root", "source")

    def __init__(self, domain: str, root: Node, source: str) -> None:
        self.domain = domain
        self.root = root
        self.source = source

    def match(self, entries: Sequence[tuple[str, str]]) -> EnvoyLimit | None:
        """The limit for a descriptor; None where the tree has none at exactly this depth."""
        node: Node | None = self.root
        for key, value in entries:
            assert node is not None
            node = node.child(key, value)
            if node is None:
                return None
        return node.limit if node is not None and entries else None


class _Loader(yaml.SafeLoader):
    """YAML without anchors, so that a small text cannot grow into a large tree; a date is a text, as in Go."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise RuleRefusedError("aliases (*name) are not read here", field="source")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - its signature
        """Of two limits for one thing the last would win unseen, so a key stands once."""
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in names:
                    raise RuleRefusedError(
                        f"line {key.start_mark.line + 1}: '{key.value[:64]}' stands there twice",
                        field="source",
                    )
                names.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def compile_domain(source: str) -> EnvoyDomain:
    """Read YAML. Raises `RuleRefusedError` with the place in the text or in the tree."""
    try:
        tree = yaml.load(source, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise RuleRefusedError(
            f"not YAML{where}: {getattr(error, 'problem', error)}", field="source"
        ) from error
    except RecursionError as error:
        raise RuleRefusedError("the YAML is nested too deeply", field="source") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What PyYAML raises for a value that is not of its tag (`!!int x`).
        raise RuleRefusedError(f"a value is not what its tag says: {error}", field="source") from error
    tree = _mapping(tree, "the file", _TOP)
    domain = tree.get("domain")
    if not isinstance(domain, str) or not 0 < len(domain) <= 128:
        raise _fault("domain", "a file names its domain, at most 128 letters")
    root, counted = Node(), [0]
    _read_children(root, tree.get("descriptors"), (), domain, counted)
    return EnvoyDomain(domain, root, source)


def _read_children(parent: Node, listed: Any, path: tuple[str, ...], domain: str, counted: list[int]) -> None:
    if listed is None:
        return
    if not isinstance(listed, list):
        raise _fault(_at(path), "descriptors is a list")
    if len(path) >= MAX_DEPTH:
        raise _fault(_at(path), f"a tree has at most {MAX_DEPTH} levels")
    for item in listed:
        counted[0] += 1
        if counted[0] > MAX_NODES:
            raise _fault(_at(path), f"a file has at most {MAX_NODES} descriptors")
        _read_node(parent, _mapping(item, _at(path), _NODE), path, domain, counted)
    for prefixes in parent.prefixes.values():
        prefixes.sort(key=lambda entry: -len(entry[0]))


def _read_node(
    parent: Node, item: Mapping[str, Any], path: tuple[str, ...], domain: str, counted: list[int]
) -> None:
    key, value = item.get("key"), item.get("value")
    if not isinstance(key, str) or not key:
        raise _fault(_at(path), "a descriptor has a key")
    if isinstance(value, bool | int | float):  # YAML reads 404 and true as such; Envoy sends text
        value = str(value).lower() if isinstance(value, bool) else str(value)
    if value is not None and not isinstance(value, str):
        raise _fault(_at((*path, key)), "a value is a text")
    here = (*path, key if value is None else f"{key}_{value}")
    node = Node()
    if value is None:
        taken = parent.any_value.setdefault(key, node)
    elif value.endswith("*"):
        prefixes = parent.prefixes.setdefault(key, [])
        taken = next((known for prefix, known in prefixes if prefix == value[:-1]), node)
        if taken is node:
            prefixes.append((value[:-1], node))
    else:
        taken = parent.exact.setdefault((key, value), node)
    if taken is not node:
        raise _fault(_at(here), "this descriptor is there twice")
    if item.get("quota_mode"):
        raise _fault(_at(here), "quota_mode is not supported")
    share = value[:-1] if item.get("share_threshold") and value is not None and value.endswith("*") else None
    if item.get("rate_limit") is not None:
        node.limit = _read_limit(
            item["rate_limit"], here, domain, shadow=bool(item.get("shadow_mode")), share=share
        )
    _read_children(node, item.get("descriptors"), here, domain, counted)


def _read_limit(
    given: Any, path: tuple[str, ...], domain: str, *, shadow: bool, share: str | None
) -> EnvoyLimit:
    limit = _mapping(given, _at(path), _LIMIT)
    name = str(limit.get("name") or "")
    others = limit.get("replaces") or ()
    if not isinstance(others, list | tuple):
        raise _fault(_at(path), "replaces is a list of names")
    replaces = tuple(str(_mapping(entry, _at(path), frozenset({"name"})).get("name")) for entry in others)
    if name and name in replaces:
        raise _fault(_at(path), "a limit does not replace itself")
    if "rule" in limit:
        return _read_reference(limit, path, name, replaces, shadow=shadow, share=share)
    unit = str(limit.get("unit") or "").lower()
    unlimited = bool(limit.get("unlimited"))
    if unlimited and (unit or "requests_per_unit" in limit):
        raise _fault(_at(path), "unlimited excludes unit and requests_per_unit")
    if not unlimited and unit not in UNIT_SECONDS:
        raise _fault(_at(path), f"unit is one of {', '.join(UNIT_SECONDS)}")
    count = None if unlimited else limit.get("requests_per_unit", 0)
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise _fault(_at(path), "requests_per_unit is a whole number")
    multiplier = limit.get("unit_multiplier") or 1
    if isinstance(multiplier, bool) or not isinstance(multiplier, int) or multiplier < 1:
        raise _fault(_at(path), "unit_multiplier is a whole number from 1")
    algorithm = _choice(limit.get("algorithm"), Algorithm, "fixed_window", path)
    if algorithm == "concurrency":
        raise _fault(_at(path), "Envoy does not say when a request has ended, so places cannot be limited")
    calendar = (
        unit
        if algorithm == "fixed_window" and unit in ("week", "month", "year") and multiplier == 1
        else None
    )
    try:
        rule = msgspec.convert(
            {
                "name": _rule_name(domain, path),
                "limit": count,
                "period_seconds": UNIT_SECONDS.get(unit, 60) * multiplier,
                "algorithm": algorithm,
                "burst": limit.get("burst"),
                "calendar": calendar,
                "mode": _choice(limit.get("mode"), Mode, "exact", path),
                "failure": _choice(limit.get("failure"), Failure, "open", path),
                "shadow": shadow,
            },
            Rule,
        )
        check_rule(rule)
    except (msgspec.ValidationError, RuleRefusedError) as error:
        raise _fault(_at(path), str(error)) from error
    return EnvoyLimit(rule=rule, unit=unit, name=name, replaces=replaces, shadow=shadow, share_prefix=share)


def _read_reference(
    limit: Mapping[str, Any],
    path: tuple[str, ...],
    name: str,
    replaces: tuple[str, ...],
    *,
    shadow: bool,
    share: str | None,
) -> EnvoyLimit:
    stored = limit["rule"]
    others = sorted(limit.keys() - {"rule", "name", "replaces"})
    if others or shadow:
        raise _fault(_at(path), f"'{others[0] if others else 'shadow_mode'}' is said by the rule itself")
    if not isinstance(stored, str) or not stored:
        raise _fault(_at(path), "rule is the name of a stored rule")
    return EnvoyLimit(rule=stored, unit="", name=name, replaces=replaces, share_prefix=share)


def _rule_name(domain: str, path: tuple[str, ...]) -> str:
    """A rule's name for counts and headers: letters that a name may have, the end of a long path."""
    text = ".".join((domain, *path))
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in text
    )
    return plain.lstrip("._-")[-64:].lstrip("._-") or "envoy"


def _choice(given: Any, options: Any, default: str, path: tuple[str, ...]) -> str:
    if given is None:
        return default
    if given not in get_args(options):
        raise _fault(_at(path), f"'{given}' is not one of {', '.join(get_args(options))}")
    return str(given)


def _mapping(given: Any, where: str, known: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise _fault(where, "here stands a mapping of keys to values")
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise _fault(where, f"unknown key '{unknown[0]}'; known: {', '.join(sorted(known))}")
    return given


def _at(path: tuple[str, ...]) -> str:
    return ".".join(path) or "descriptors"


def _fault(where: str, what: str) -> RuleRefusedError:
    return RuleRefusedError(f"{where}: {what}", field="source")


__all__ = ["Calendar", "EnvoyDomain", "EnvoyLimit", "compile_domain"]
