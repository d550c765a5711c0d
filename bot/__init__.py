"""The running bot: settings, wiring, the life of a turn, the command line."""

__version__ = "0.1.0"
