"""`python -m binder`."""

from binder.cli.main import main

if __name__ == "__main__":
    main()
