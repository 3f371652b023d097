"""The command `robustest`: it reads the files of runs, and starts runs; it measures nothing itself."""

from robustest.cli.command import main as main
