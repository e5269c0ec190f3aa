"""Chat's drills by name, each giving an audit: what was killed, what was counted, which promises held."""

from pathlib import Path

import uvloop

from drills.chat import sleeper
from drills.chat.acknowledged_messages import ROLES, drill
from drills.harness import Audit

CLIENTS = 200
ROOMS = 10
SECONDS = 10.0
NAMES = (*(f"chat-{role}" for role in ROLES), "chat-sleeper")
_PROMISES = {
    "lost": "every acknowledged message is there",
    "moved": "under the id and the sequence that were acknowledged",
    "doubled": "nothing is there twice, nor was shown twice",
    "gaps": "sequences are dense, and came in their order",
    "views_that_differ": "every member saw exactly the conversation",
    "faults": "every chain of hashes is whole",
}


def run(name: str, folder: Path) -> Audit:
    """Carry one out. Raises `TimeoutError` when the clients do not get through any more."""
    if name == "chat-sleeper":
        return uvloop.run(sleeper.drill(folder))
    role = name.removeprefix("chat-")
    counts = uvloop.run(drill(folder, clients=CLIENTS, rooms=ROOMS, seconds=SECONDS, roles=(role,)))
    audit = Audit(name, counts=dict(counts))
    audit.check("messages were acknowledged", counts["acknowledged"] > 0)
    for count, promise in _PROMISES.items():
        audit.check(promise, counts[count] == 0)
    return audit
