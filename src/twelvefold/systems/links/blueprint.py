"""The card of the links system (handbook, template 5, with its errata)."""

from twelvefold.kernel.blueprint import Blueprint, Connect, Estimate, Guarantee, Quantity, TradeOff

_DAY = 86_400

ESTIMATE = Estimate(
    inputs={
        "links_per_day": 100e6,
        "redirects_per_day": 10e9,
        "bytes_per_link": 500,
        "code_length": 7,
        "hot_share": 0.2,
    },
    lines=(
        Quantity(name="creates_per_second", unit="1/s", formula=lambda known: known["links_per_day"] / _DAY),
        Quantity(
            name="redirects_per_second", unit="1/s", formula=lambda known: known["redirects_per_day"] / _DAY
        ),
        Quantity(name="codes", unit="codes", formula=lambda known: 62 ** known["code_length"]),
        # The errata: 62^7 codes at 100M a day last 96 years, not 1,000.
        Quantity(
            name="years_until_used_up",
            unit="years",
            formula=lambda known: known["codes"] / known["links_per_day"] / 365,
        ),
        Quantity(
            name="storage_per_year",
            unit="bytes",
            formula=lambda known: known["links_per_day"] * 365 * known["bytes_per_link"],
        ),
        # The errata: the cache is sized by distinct hot codes, and a fifth of a year's codes bounds them.
        Quantity(
            name="cache_upper_bound",
            unit="bytes",
            formula=lambda known: known["links_per_day"] * 365 * known["hot_share"] * known["bytes_per_link"],
        ),
    ),
)

BLUEPRINT = Blueprint(
    name="links",
    title="Links",
    group="serve",
    promise="A redirect in microseconds, every click counted, no code ever given twice.",
    pitch=(
        "Short links, pastes and unique ids. Reads outnumber writes a hundred to one, so a redirect is answered "
        "from memory before any framework wakes up; clicks go to a log and are counted behind its back."
    ),
    signals=(
        "Unique codes or ids are made at scale",
        "Redirects outnumber new links by far",
        "A redirect has a budget of a few milliseconds",
    ),
    checklist=(
        "How many new links and redirects a day?",
        "Are aliases of one's own wanted, and own domains?",
        "Do links expire, by date or by clicks?",
        "Which statistics, and how soon after the click?",
        "May browsers keep a redirect (301), or must each click be seen (302)?",
    ),
    estimate=ESTIMATE,
    guarantees=(
        Guarantee(
            promise="An acknowledged link survives kill -9 of any process, PostgreSQL and Valkey included.",
            drill="python -m drills links",
        ),
        Guarantee(
            promise=(
                "Counted clicks are answered redirects; kill -9 of a web process loses at most 25 ms of them "
                "and the write in flight."
            ),
            drill="python -m drills links-web",
        ),
        Guarantee(
            promise="A limit of N clicks gives exactly N redirects, however many ask at once.",
            drill="pytest tests/systems/links/test_redirects.py -k limit",
        ),
        Guarantee(
            promise="An edit or a delete is seen by every process within 100 ms; no late refill brings the old one back.",
            drill="pytest tests/systems/links/test_two_processes.py",
        ),
        Guarantee(
            promise="With Valkey or the database away, links that are known still redirect.",
            drill="python -m drills links-cache links-database",
        ),
    ),
    trade_offs=(
        TradeOff(
            decision="code",
            option_a="Hash of the address",
            option_b="Counter through a keyed permutation",
            choice="b",
            why="No collision can happen, and the next code cannot be guessed from the last.",
            cost="The same address gets a new code each time, unless dedupe is asked for.",
        ),
        TradeOff(
            decision="redirect",
            option_a="301, kept by the browser",
            option_b="302, asked each time",
            choice="b",
            why="Every click is seen and an edit works at once.",
            cost="Every click costs a request.",
        ),
        TradeOff(
            decision="cache",
            option_a="Write-through",
            option_b="Cache-aside with versions",
            choice="b",
            why="Only what is asked for takes memory; a version keeps a late refill from bringing back the old address.",
            cost="The first click on a link waits for the database.",
        ),
        TradeOff(
            decision="analytics",
            option_a="Counted in the redirect",
            option_b="Logged, counted by a worker",
            choice="b",
            why="A redirect does not wait for a row that everybody wants to lock.",
            cost="A click is seen up to two seconds later, and 25 ms of clicks are lost when a web process is killed.",
        ),
    ),
    connect=(
        Connect(
            client="curl",
            how=(
                "```sh\ncurl -X POST {base_url}/v1/links -H 'Authorization: Bearer {api_key}' \\\n"
                "  -H 'Content-Type: application/json' -d '{{\"url\": \"https://example.com/\"}}'\n```"
            ),
        ),
        Connect(
            client="YOURLS clients",
            how=(
                "Any client of the YOURLS API works; the key is the signature.\n"
                "```python\nfrom yourls import YOURLSClient\n\n"
                'yourls = YOURLSClient("{base_url}/yourls-api.php", signature="{api_key}")\n'
                'yourls.shorten("https://example.com/")\n```'
            ),
        ),
        Connect(
            client="Python, in your own process",
            how=(
                "```python\nfrom twelvefold import DEFAULT_TENANT, Platform\n"
                "from twelvefold.systems.links import NewLink\n\n"
                'async with Platform.open("data") as p:\n'
                '    link = await p.links.create(DEFAULT_TENANT, NewLink(url="https://example.com/"))\n```'
            ),
        ),
    ),
)
