"""The command line: one module per command or group of commands."""

from crossreid.cli.app import app, main

__all__ = ["app", "main"]
