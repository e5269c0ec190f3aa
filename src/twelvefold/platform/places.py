"""Where things are: the data folder, and the owner's key in it."""

import os
from pathlib import Path

from twelvefold.engines.embedded.secret_files import Secrets
from twelvefold.platform.config import DEFAULT_DATA
from twelvefold.web.access.rules import key_from_seed

OWNER_KEY = "owner_key"
LINKS_SECRET = "links_codes"  # noqa: S105 - the name of a file
"""Orders the codes; whoever loses it must not make links under the same counter again."""
CHAT_SECRET = "chat_tokens"  # noqa: S105 - the name of a file
"""Signs user tokens and media links, and is what the WebPush key is made of."""


def data_folder(named: Path | None) -> Path:
    """The folder that was named, `TWELVEFOLD_DATA`, or `./twelvefold-data`."""
    return (named or Path(os.environ.get("TWELVEFOLD_DATA") or DEFAULT_DATA)).absolute()


def owner_key(data: Path) -> str:
    """The API key that the first start made, from the folder's secrets."""
    return key_from_seed(Secrets(data / "secrets").get(OWNER_KEY))
