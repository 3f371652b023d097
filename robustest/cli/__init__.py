"""The command `robustest`: it reads what runs wrote, and starts runs; it measures and judges nothing itself."""

from robustest.cli.command import main as main
