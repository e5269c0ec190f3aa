"""What the systems stand on: the database, Valkey, the log, blobs, events. Growing means changing a URL."""
