"""`python -m colcap`, where the `colcap` script is not on the PATH."""

from colcap.cli import main

if __name__ == "__main__":  # processes that this one starts import it too
    main()
