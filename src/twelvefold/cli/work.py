"""`twelvefold work`: one worker process, on engines that run elsewhere."""

from twelvefold.cli.options import ConfigFile, Data, Overrides, verb

app = verb("work", "Run only a worker process.")


@app.default
def work(*, data: Data = None, config: ConfigFile = None, overrides: Overrides = ()) -> None:
    """Work until SIGTERM. All engines must be URLs, or belong to an `up` on the same data folder."""
    from twelvefold.platform.alone import run_alone

    run_alone("work", data, config, overrides)
