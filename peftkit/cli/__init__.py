"""The command line: thin, each command one library call; errors become one line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from contextlib import suppress

EXIT = {"failed": 1, "user": 2, "interrupted": 130}


def main() -> None:
    """Runs the command line. Exit codes: 0 well, 1 a run failed, 2 the user's mistake, 130 interrupted."""
    from typer import Exit, TyperException
    from typer.main import get_command

    from peftkit.cli.commands import app
    from peftkit.errors import PeftkitError, UserError

    # said when bitsandbytes is imported on processors with AVX512-BF16; it concerns a kernel that peftkit does without
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    command, code = get_command(app), 0
    try:
        with command.make_context("peftkit", sys.argv[1:]) as context:  # not app(): it has its own words for errors
            command.invoke(context)
        sys.stdout.flush()
    except Exit as ended:
        code = ended.exit_code
    except TyperException as error:  # a command line that cannot be parsed
        code = _say(error.format_message(), "user")
    except UserError as error:
        code = _say(str(error), "user")
    except PeftkitError as error:
        code = _say(str(error), "failed")
    except KeyboardInterrupt:
        code = _say("interrupted", "interrupted")
    except BrokenPipeError:  # the reader of our output went away: `peftkit report … | head`
        _give_up_output()
    except OSError as error:  # whatever was being written, the record included
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _give_up_output()
        code = _say(f"{error.filename or 'the output'} cannot be written: {error.strerror}", "user")
    sys.exit(code)


def _give_up_output() -> None:
    """What Python still holds of standard output has nowhere to go, and is not to be tried again at the end."""
    with suppress(OSError):  # not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, kind: str) -> int:
    for line in message.splitlines():
        print(f"peftkit: {line}", file=sys.stderr)
    return EXIT[kind]
