"""``python -m app``."""

import sys


def _start() -> None:
    try:
        from app.cli import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: the Python package '{error.name}' is missing in {sys.executable}; "
            "run 'make setup' and start with .venv/bin/python"
        )
    except KeyboardInterrupt:  # while the imports, a second or two, were still going on
        sys.exit(130)
    main()


if __name__ == "__main__":
    _start()
