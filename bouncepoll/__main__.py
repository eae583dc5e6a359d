"""``python -m bouncepoll``, and the console script."""

from bouncepoll.cli.app import run


def main() -> None:
    """Run the command line."""
    run()


if __name__ == "__main__":
    main()
