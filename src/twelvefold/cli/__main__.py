"""The command `twelvefold`. A verb's module is imported when the verb is used, so that help is quick."""

import os
import sys
from importlib import import_module
from typing import NoReturn

VERBS: dict[str, tuple[str, str]] = {
    "up": ("up", "Start everything on this machine and say where to go."),
    "status": ("status", "Show what runs, how fast, and how the engines are."),
    "doctor": ("doctor", "Check the data folder, engines, disk, clock and limits, and say what to do."),
    "config": ("config", "Show the configuration and where each value comes from."),
    "keys": ("keys", "Make, list and revoke API keys; print a login link."),
    "tenants": ("tenants", "Make and list tenants."),
    "links": ("links", "Create, list, import and export short links."),
    "bench": ("bench", "Measure this machine, or a system beside its peers."),
    "serve": ("serve", "Run only a web process, on engines that run elsewhere."),
    "work": ("work", "Run only a worker process, on engines that run elsewhere."),
}
"""Each verb: its module in this package, and one line of help."""

_HELP_WORDS = {"-h", "--help", "help"}


def main(words: list[str] | None = None) -> None:
    """Run one verb. Exit codes: 0 ok, 1 failed, 2 usage, 3 refused for safety."""
    given = sys.argv[1:] if words is None else words
    if not given or given[0] in _HELP_WORDS:
        print(_help())  # noqa: T201
        return
    if given[0] in ("--version", "-V"):
        from twelvefold import __version__

        print(f"twelvefold {__version__}")  # noqa: T201
        return
    if given[0] not in VERBS:
        _unknown(given[0])
    _run(given[0], given[1:])


def _help() -> str:
    width = max(len(verb) for verb in VERBS)
    lines = [f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(
        (
            "Twelve backends in one package.",
            "",
            "Usage: twelvefold VERB [OPTIONS]",
            "",
            *lines,
            "",
            "`twelvefold VERB --help` explains a verb; every verb takes --json.",
        )
    )


def _unknown(verb: str) -> NoReturn:
    import difflib

    nearest = difflib.get_close_matches(verb, VERBS, n=1)
    fix = f"did you mean '{nearest[0]}'?" if nearest else "see `twelvefold --help`"
    print(f"twelvefold: there is no verb '{verb}'; {fix}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _run(verb: str, rest: list[str]) -> None:
    from twelvefold.cli.output import fail
    from twelvefold.kernel.errors import TwelvefoldError

    app = import_module(f"twelvefold.cli.{VERBS[verb][0]}").app
    try:
        app(rest, exit_on_error=False, print_error=True)
    except TwelvefoldError as error:
        fail(error, as_json="--json" in rest)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        from cyclopts import CycloptsError

        if isinstance(error, CycloptsError):
            sys.exit(2)  # it has said what is wrong
        raise


if __name__ == "__main__":
    main()
