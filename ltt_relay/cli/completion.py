# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay completion``: the script by which a shell completes commands, options, events and sessions."""

from __future__ import annotations

import click

from ltt_relay.cli import COMMANDS, examples

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay completion bash | sudo tee /etc/bash_completion.d/ltt-relay
    ltt-relay completion zsh >~/.zfunc/_ltt-relay     with fpath+=~/.zfunc before compinit in ~/.zshrc
    ltt-relay completion fish >~/.config/fish/completions/ltt-relay.fish
    eval "$(ltt-relay completion bash)"               for this shell only
    """
)


@click.command("completion", short_help=COMMANDS["completion"], epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL."""
    from click.shell_completion import get_completion_class

    from ltt_relay.cli import main

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "ltt-relay", "_LTT_RELAY_COMPLETE").source())
