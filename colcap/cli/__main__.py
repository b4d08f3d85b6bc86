"""`python -m colcap.cli`, where the `colcap` script is not on the PATH."""

from colcap.cli import main

main()
