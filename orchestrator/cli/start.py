"""Where the `fess` command begins: Ctrl-C ends it without a traceback while all that it needs is still being loaded."""

import sys


def main() -> None:
    try:
        from orchestrator.cli.main import main as fess
    except KeyboardInterrupt:
        sys.exit(130)
    fess()


if __name__ == "__main__":
    main()
