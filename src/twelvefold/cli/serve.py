"""`twelvefold serve`: one web process, on engines that run elsewhere."""

from twelvefold.cli.options import ConfigFile, Data, Overrides, verb

app = verb("serve", "Run only a web process.")


@app.default
def serve(*, data: Data = None, config: ConfigFile = None, overrides: Overrides = ()) -> None:
    """Serve until SIGTERM. All engines must be URLs, or belong to an `up` on the same data folder."""
    from twelvefold.platform.alone import run_alone

    run_alone("web", data, config, overrides)
