"""The command line. Its verbs are the library's own functions; here they are only typed, shown and explained."""

from ostinato.cli.app import main

__all__ = ["main"]
