"""The only wiring: configuration to engines to systems to web; the processes of a platform."""
