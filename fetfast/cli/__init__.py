"""The command line. Exit status: 0, 2 for a mistake of the user's (one line on stderr), 1 for one of ours, and where a
video shows nobody."""

from __future__ import annotations

import warnings
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from fetfast import __version__
from fetfast.cli import faces, figures, find, plans, tasks, training
from fetfast.errors import FetfastError


class Commands(click.Group):
    """Turns the errors that users can mend into one line and exit status 2; shows commands in the order written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="PIL")  # what matters of a file's flaws is an error
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except NoArgsIsHelpError:  # no mistake: click shows the help
            raise
        except click.UsageError as error:
            message = (
                f"{error.format_message().rstrip('.')}; see {error.ctx.command_path if error.ctx else 'fetfast'} --help"
            )
        except FetfastError as error:
            message = str(error)
        except BrokenPipeError:  # whoever read our output is gone: click ends quietly
            raise
        except OSError as error:  # a file or folder that the user named, or a full disk
            message = f"{error.filename or 'the file'}: {error.strerror or error}"
        click.echo(f"fetfast: {_line(message)}", err=True)
        ctx.exit(2)


def _line(message: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))  # a name may hold anything


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"fetfast: warning: {_line(str(message))}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="fetfast")
def main() -> None:
    """Puts the expression of one face onto another face, which stays itself.

    \b
    fetfast transfer smile.jpg portrait.jpg -o smiling.png
    fetfast live --source 0 --target portrait.jpg
    fetfast doctor
    """


for command in (
    *(faces.transfer, faces.live, find.faces),
    *(tasks.swap, tasks.edit, tasks.recognize),
    *(plans.info, plans.doctor, plans.build, plans.export, plans.cache, plans.tune),
    *(training.synth, training.train, training.make),
    *(figures.bench, figures.evaluate, figures.sheet),
):
    main.add_command(command)
