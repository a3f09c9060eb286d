"""`python -m connector`: the command `mde-inventory` from a checkout, without installing it."""

from connector.cli import main

if __name__ == "__main__":
    main()
