"""The command ``vkd``."""

from vkd.cli.command import HELP, main

__all__ = ["HELP", "main"]
