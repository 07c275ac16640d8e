"""The command line: thin, each command one library call; errors become one line and an exit code."""

from __future__ import annotations

import sys

EXIT = {"failed": 1, "user": 2, "interrupted": 130}


def main() -> None:
    """Runs the command line. Exit codes: 0 well, 1 a run failed, 2 the user's mistake, 130 interrupted."""
    import click

    from peftkit.cli.commands import app
    from peftkit.errors import PeftkitError, UserError

    try:
        code = app(standalone_mode=False)
    except click.exceptions.Abort:
        code = _say("interrupted", "interrupted")
    except click.ClickException as error:
        error.show()
        code = EXIT["user"]
    except UserError as error:
        code = _say(str(error), "user")
    except PeftkitError as error:
        code = _say(str(error), "failed")
    except KeyboardInterrupt:
        code = _say("interrupted", "interrupted")
    except BrokenPipeError:  # the reader of our output went away: `peftkit report … | head`
        sys.stderr.close()
        code = 0
    sys.exit(code or 0)


def _say(message: str, kind: str) -> int:
    for line in message.splitlines():
        print(f"peftkit: {line}", file=sys.stderr)
    return EXIT[kind]
