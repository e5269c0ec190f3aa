"""What links decides: codes, targets, where a visitor goes, how long a link lives. Pure and synchronous."""
