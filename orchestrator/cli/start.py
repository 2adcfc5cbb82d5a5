"""Where the `fess` command begins: Ctrl-C ends it without a traceback while all that it needs is still being loaded."""

import os
import sys


def main() -> None:
    # ONNX Runtime would note models and machine in the user's home, and tell its maker (0003).
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        from orchestrator.cli.main import main as fess
    except KeyboardInterrupt:
        sys.exit(130)
    fess()


if __name__ == "__main__":
    main()
