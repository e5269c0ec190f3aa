"""The card of the limiter (handbook, template 6, with its errata)."""

from twelvefold.kernel.blueprint import Blueprint, Connect, Estimate, Guarantee, Quantity, TradeOff

ESTIMATE = Estimate(
    inputs={
        "requests_per_second": 100e3,
        "active_users": 10e6,
        "bytes_per_key": 100,
        "decisions_per_valkey_core": 300e3,
        "data_centres": 1,
    },
    lines=(
        Quantity(name="checks_per_second", unit="1/s", formula=lambda known: known["requests_per_second"]),
        Quantity(
            name="state", unit="bytes", formula=lambda known: known["active_users"] * known["bytes_per_key"]
        ),
        Quantity(
            name="valkey_cores",
            unit="cores",
            formula=lambda known: known["checks_per_second"] / known["decisions_per_valkey_core"],
        ),
        Quantity(
            name="state_everywhere",
            unit="bytes",
            formula=lambda known: known["state"] * known["data_centres"],
        ),
    ),
)

BLUEPRINT = Blueprint(
    name="limiter",
    title="Limiter",
    group="protect",
    promise="One limit, counted once, whoever asks and through whichever door.",
    pitch=(
        "Quotas by user, key, address or endpoint. The check and the debit are one script in Valkey, so that "
        "two servers never both take the last unit; hot keys are leased to the nodes, and a lost Valkey is "
        "answered by each rule's own policy within 20 ms."
    ),
    signals=(
        "One client could use up what is meant for all",
        "Tiers of customers have different quotas",
        "Several servers must count as one",
    ),
    checklist=(
        "Whose limit: user, address, API key, tenant?",
        "Which limits for which endpoints?",
        "Which tiers, and do a minute's and a day's limit hold together?",
        "Refuse with 429, or delay, or only flag?",
        "How many servers and data centres share one limit?",
        "When the state is away: let through, refuse, or count locally?",
    ),
    estimate=ESTIMATE,
    guarantees=(
        Guarantee(
            promise="However many processes ask at once, an exact rule admits its limit, and neither more nor less.",
            drill="pytest tests/systems/limiter/test_limiter.py",
        ),
        Guarantee(
            promise="With Valkey killed or stopped every check is answered within 20 ms by the rule's policy.",
            drill="python -m drills limiter-valkey",
        ),
        Guarantee(
            promise="A leased rule admits at most its limit and the leases outstanding; a dead node's lease comes back.",
            drill="python -m drills limiter-lease",
        ),
        Guarantee(
            promise="A refusal changes nothing, and waiting exactly as told succeeds.",
            drill="pytest tests/unit/limiter",
        ),
    ),
    trade_offs=(
        TradeOff(
            decision="algorithm",
            option_a="Fixed window",
            option_b="Token bucket",
            choice="b",
            why=(
                "Two full loads never pass at once, as they do around the edge of a window, and a check and a key cost "
                "less. docs/limiter.md has the figures of all four algorithms, and the machine they are of."
            ),
            cost=(
                "Over a whole period the burst and the rate add up to nearly twice the limit. What is left is a moment "
                "in time, which is harder to read than a count."
            ),
        ),
        TradeOff(
            decision="atomicity",
            option_a="MULTI and EXEC",
            option_b="One script",
            choice="b",
            why="Checking and debiting several rules is one step and one round trip.",
            cost="A script holds up the server while it runs, so its size is bounded.",
        ),
        TradeOff(
            decision="failure",
            option_a="Refuse while the state is away",
            option_b="Let through",
            choice="b",
            why="An outage of the limiter is not an outage of everything. Each rule may choose otherwise.",
            cost="Quotas are exceeded meanwhile.",
        ),
        TradeOff(
            decision="enforcement",
            option_a="Each server for itself",
            option_b="Shared state",
            choice="b",
            why="N servers that count alone admit N times the limit.",
            cost="A check costs a round trip, unless a lease answers it.",
        ),
        TradeOff(
            decision="data centres",
            option_a="The limit divided by their number",
            option_b="Leases by demand from one home",
            choice="b",
            why="An idle data centre holds nothing back, and after a partition the shares heal by themselves.",
            cost="A partition adds the outstanding leases and each node's head start to the limit.",
        ),
    ),
    connect=(
        Connect(
            client="curl",
            how=(
                "```sh\ncurl -X POST {base_url}/v1/limiter/check -H 'Authorization: Bearer {api_key}' \\\n"
                "  -H 'Content-Type: application/json' \\\n"
                '  -d \'{{"rule": {{"name": "demo", "limit": 5}}, "key": "ann"}}\'\n```'
            ),
        ),
        Connect(
            client="Redis clients (CL.THROTTLE)",
            how="```sh\nredis-cli -p 8014 -a {api_key} CL.THROTTLE user:1 15 30 60\n```",
        ),
        Connect(
            client="Envoy",
            how=(
                "Point the HTTP filter `envoy.filters.http.ratelimit` at port 8013, with the metadata\n"
                "`authorization: Bearer {api_key}`, and store envoyproxy/ratelimit's YAML with\n"
                "`PUT {base_url}/v1/limiter/envoy`."
            ),
        ),
        Connect(
            client="FastAPI, Starlette, Litestar",
            how=(
                "```python\nfrom twelvefold.systems.limiter import RateLimitMiddleware, Rule, open_limiter\n\n"
                'app.add_middleware(\n    RateLimitMiddleware, limiter=limiter, rules=[Rule(name="api", limit=100)]\n)\n```'
            ),
        ),
    ),
)
