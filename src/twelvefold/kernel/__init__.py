"""What every layer stands on, with no I/O of data: time, ids, errors, configuration, telemetry, tenancy."""
