"""`python -m npbert`, and where the `npbert` command begins."""

import signal
import sys


def run() -> int:
    """Run the command, which takes most of its time to start for imports; while they run there is nobody to catch an error.

    Ctrl-C ends the process at once until the command can clean up after itself, and again when it has. If there is no memory
    even for the imports, that is one line.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:  # else the process was told to ignore it, as those in the background are
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from npbert.cli import main
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        print(f"npbert: cannot start: {' '.join(str(error).split()) or 'not enough memory'}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, interrupt)
    try:
        return main()
    finally:
        if interrupt is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(run())
