"""The card of the chat system (handbook, template 3, with its errata)."""

from twelvefold.kernel.blueprint import Blueprint, Connect, Estimate, Guarantee, Quantity, TradeOff

_DAY = 86_400

ESTIMATE = Estimate(
    inputs={
        "daily_users": 500e6,
        "messages_per_user": 200,
        "bytes_per_message": 1000,
        "online_share": 0.2,
        "connections_per_server": 100_000,
        "retention_years": 7,
    },
    lines=(
        Quantity(
            name="messages_per_day",
            unit="messages",
            formula=lambda known: known["daily_users"] * known["messages_per_user"],
        ),
        Quantity(
            name="messages_per_second", unit="1/s", formula=lambda known: known["messages_per_day"] / _DAY
        ),
        Quantity(
            name="storage_per_day",
            unit="bytes",
            formula=lambda known: known["messages_per_day"] * known["bytes_per_message"],
        ),
        Quantity(
            name="storage_kept",
            unit="bytes",
            formula=lambda known: known["storage_per_day"] * 365 * known["retention_years"],
        ),
        Quantity(
            name="connections",
            unit="connections",
            formula=lambda known: known["daily_users"] * known["online_share"],
        ),
        Quantity(
            name="socket_servers",
            unit="servers",
            formula=lambda known: known["connections"] / known["connections_per_server"],
        ),
    ),
)

BLUEPRINT = Blueprint(
    name="chat",
    title="Chat",
    group="talk",
    promise="On disk before it is acknowledged, one order for everyone, nothing lost by a dropped connection.",
    pitch=(
        "Conversations over long-lived sockets. Every message gets the next number of its conversation in the commit that "
        "stores it; whoever was away asks for what comes after the last number it has."
    ),
    signals=(
        "Messages must arrive in milliseconds, without polling",
        "Both sides need to see what happens as it happens",
        "Whoever was offline must get everything, once and in order",
        "The order of messages matters",
    ),
    checklist=(
        "One to one, groups, or both, and how large is the largest group?",
        "Is it shown who is there, and who has read?",
        "Which media, how large?",
        "How long is history kept, and is it searched?",
        "How many people a day, how many of them at once?",
        "How quickly must a message arrive?",
    ),
    estimate=ESTIMATE,
    guarantees=(
        Guarantee(
            promise="An acknowledged message survives kill -9 of any process, engines included, and is there once.",
            drill="python -m drills chat-web chat-worker chat-valkey chat-database",
        ),
        Guarantee(
            promise="All members see one order without gaps, whoever was killed in between.",
            drill="python -m drills chat-web chat-database",
        ),
        Guarantee(
            promise="A process that slept through a change of members cannot append.",
            drill="python -m drills chat-sleeper",
        ),
    ),
    trade_offs=(
        TradeOff(
            decision="order",
            option_a="Ids by time from every server",
            option_b="A dense sequence from the commit itself",
            choice="b",
            why="Two servers' clocks are no order; a gap in a dense sequence is seen at once.",
            cost="All messages of one conversation pass one row's lock, held for the time of one commit.",
        ),
        TradeOff(
            decision="owner",
            option_a="One process owns a conversation, by a lease with a fence",
            option_b="No owner: the row lock of the append, inside the server",
            choice="b",
            why="Nothing has to be handed over, and a process that stops holds nothing.",
            cost="Two processes that write into one conversation wait for each other's commit.",
        ),
        TradeOff(
            decision="durability",
            option_a="Acknowledge, then store",
            option_b="Store with the next group commit, then acknowledge",
            choice="b",
            why="What was acknowledged is never lost; many messages share one fsync.",
            cost="An acknowledgement takes as long as one or two fsyncs of the disk.",
        ),
        TradeOff(
            decision="offline",
            option_a="A queue for each user",
            option_b="A cursor for each device over the log",
            choice="b",
            why="Nothing can fall between reading and clearing a queue, and a second device is only a second cursor.",
            cost="Catching up reads the log.",
        ),
        TradeOff(
            decision="bus",
            option_a="A log for fan-out (Kafka)",
            option_b="Pub/sub that carries the message, the stored log as the truth",
            choice="b",
            why="It is quick, and may lose anything: a gap is read from the log.",
            cost="Large groups get a doorbell only, and each server one read.",
        ),
    ),
    connect=(
        Connect(
            client="curl",
            how=(
                "```sh\ncurl -X POST {base_url}/v1/chat/conversations -H 'Authorization: Bearer {api_key}' \\\n"
                "  -H 'Chat-User: ann' -H 'Content-Type: application/json' -d '{{\"members\": [\"bob\"]}}'\n```"
            ),
        ),
        Connect(
            client="Centrifugo clients",
            how=(
                "Any client of the Centrifugo protocol v2 works; channels are conversations.\n"
                "```python\nfrom centrifuge import Client\n\n"
                'client = Client("{ws_url}/connection/websocket", token=token)\n```'
            ),
        ),
        Connect(
            client="Python, in your own process",
            how=(
                "```python\nfrom twelvefold import DEFAULT_TENANT, Platform\n"
                "from twelvefold.systems.chat import NewConversation, NewMessage\n\n"
                'async with Platform.open("data") as p:\n'
                '    room = await p.chat.create(DEFAULT_TENANT, "ann", NewConversation(members=("bob",)))\n'
                '    await p.chat.send(DEFAULT_TENANT, room.id, "ann", NewMessage(text="hello"))\n```'
            ),
        ),
    ),
)
