"""How a verb reaches a running platform: its URL and a key, from the data folder or from the environment."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from twelvefold.kernel.errors import RefusedError, TwelvefoldError

DEADLINE_SECONDS = 60.0


class ServerProblemError(TwelvefoldError):
    """The server refused."""

    code = "server"


class Connection:
    """A client of the platform's own HTTP API."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key

    @classmethod
    def open(cls, data: Path | None = None) -> "Connection":
        """To `TWELVEFOLD_URL` with `TWELVEFOLD_API_KEY`, else to what runs on the data folder.

        Raises `RefusedError` when nothing runs there.
        """
        url, key = os.environ.get("TWELVEFOLD_URL"), os.environ.get("TWELVEFOLD_API_KEY")
        if url and key and data is None:
            return cls(url, key)
        from twelvefold.platform import runtime
        from twelvefold.platform.places import data_folder, owner_key

        folder = data_folder(data)
        return cls(runtime.read(folder).url, owner_key(folder))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; returns the decoded answer. Raises `ServerProblemError` with the server's own words."""
        request = urllib.request.Request(  # noqa: S310 - the URL is our own server's
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:  # noqa: S310
                text = response.read()
        except urllib.error.HTTPError as error:
            raise _problem(error) from error
        except (urllib.error.URLError, TimeoutError) as error:
            reason = getattr(error, "reason", error)
            raise RefusedError(
                f"{self.url} does not answer: {reason}", hint="is `twelvefold up` running?"
            ) from error
        return json.loads(text) if text else None


def _problem(error: urllib.error.HTTPError) -> ServerProblemError:
    with error:
        raw = error.read()
    try:
        body = json.loads(raw)
    except ValueError:
        return ServerProblemError(f"the server answered {error.code}")
    field = f"{body['field']}: " if body.get("field") else ""
    return ServerProblemError(f"{field}{body.get('detail') or body.get('title')}", hint=body.get("hint"))
