"""``python -m p2pgrid`` is the command line."""

from p2pgrid.cli import main

if __name__ == "__main__":
    main()
