"""`python -m mstar` is the `mstar` command."""

from mstar.cli import main

main()
