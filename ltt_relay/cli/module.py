# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay module``: the kernel half, for the running kernel."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, examples
from ltt_relay.cli.interrupt import tidied

__all__ = ("command",)


_EXAMPLES = examples(
    """
    ltt-relay module status           what is there, and what this kernel allows
    sudo ltt-relay module load        builds them if need be, loads them, mounts relayfs at /sys/kernel/relay
    sudo ltt-relay module install     by DKMS: built anew for every kernel that is installed later
    sudo ltt-relay module unload
    """
)


@click.group("module", short_help=COMMANDS["module"], epilog=_EXAMPLES)
def command() -> None:
    """Build, load and unload the kernel modules (relayfs and its clients) for the running kernel."""


@command.command(
    "build",
    short_help="Build the modules.",
    epilog=examples(
        "ltt-relay module build\nltt-relay module build --kdir /usr/src/linux-headers-6.1.0-50-amd64 -o modules"
    ),
)
@click.option(
    "--kdir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Build directory of another kernel. [default: /lib/modules/RELEASE/build]",
)
@click.option(
    *("-o", "--output"), type=click.Path(path_type=Path), metavar="DIR", help="Where to. [default: the user's cache]"
)
@click.option("--force", is_flag=True, help="Also if they are built already.")
def build(kdir: Path | None, output: Path | None, force: bool) -> None:
    """Build the modules and print the directory that they are in."""
    from ltt_relay.capture import machine, modules

    with tidied(signal.SIGTERM, signal.SIGHUP):
        click.echo(modules.build(machine.look(), kdir=kdir, output=output, force=force))


@command.command(
    "install",
    short_help="Install the modules by DKMS.",
    epilog=examples("sudo ltt-relay module install     then: sudo modprobe ltt"),
)
def install() -> None:
    """Hand the modules' sources to DKMS, which builds and signs them for this and every later kernel."""
    from ltt_relay.capture import modules

    with tidied(signal.SIGTERM, signal.SIGHUP):
        click.echo(modules.install().rstrip(), err=True)


@command.command(
    "load",
    short_help="Load the modules and mount relayfs.",
    epilog=examples(
        """
        sudo ltt-relay module load
        sudo ltt-relay module load --from modules
        sudo ltt-relay module load --group tracing     the members of a group may record from now on
        """
    ),
)
@click.option(
    "--from",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Take the .ko files from there. [default: those installed, else those built]",
)
@click.option(
    "--group",
    metavar="GROUP",
    help="Let the members of this group record, as root may: they see what every user of the machine does.",
)
def load(directory: Path | None, group: str | None) -> None:
    """Load the modules that are not loaded yet, building them if need be, and mount relayfs at /sys/kernel/relay.

    Only root may record then, or with --group also the members of a group, until the next boot or unload.
    """
    from ltt_relay.capture import machine, modules
    from ltt_relay.capture.rights import group_number

    number = group_number(group) if group is not None else None
    with tidied(signal.SIGTERM, signal.SIGHUP):
        names = modules.load(machine.look(), directory, number)
    click.echo(f"loaded: {', '.join(names)}" if names else "all loaded already", err=True)
    if group is not None:
        click.echo(f"the members of group {group} may record", err=True)


@command.command(
    "unload", short_help="Unmount relayfs and unload the modules.", epilog=examples("sudo ltt-relay module unload")
)
def unload() -> None:
    """Unmount relayfs and unload the modules; refused while there are sessions."""
    from ltt_relay.capture import modules

    names = modules.unload()
    click.echo(f"unloaded: {', '.join(names)}" if names else "none was loaded", err=True)


@command.command(
    "status",
    short_help="Show what is loaded and what this kernel allows.",
    epilog=examples("ltt-relay module status\nltt-relay module status --json"),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show which modules are loaded, whether they can be built, and what may keep this kernel from taking them."""
    from dataclasses import asdict

    from ltt_relay.capture import machine, modules
    from ltt_relay.capture.rights import MOUNT_POINT, mount_options

    found = machine.look()
    facts = asdict(found) | {
        "loaded": modules.loaded(),
        "installed": modules.installed(found),
        "mounted": (options := mount_options()) is not None,
        "mount_options": options,
        "may_record": os.access(MOUNT_POINT / "ltt", os.R_OK | os.W_OK | os.X_OK),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2, default=str))
        return
    missing = f"not installed{f' ({found.install})' if found.install else ''}"
    secure = {True: "on", False: "off", None: "no UEFI"}[found.secure_boot]
    for name, value in (
        ("kernel", found.release),
        ("headers", found.build or missing),
        ("installed", facts["installed"] or "no"),
        ("loaded", ", ".join(facts["loaded"]) or "no"),
        ("mounted", f"{MOUNT_POINT}, gid={options['gid']}, mode={options['mode']}" if options else "no"),
        ("may record", "yes" if facts["may_record"] else "no"),
        ("lockdown", found.lockdown or "not in this kernel"),
        ("secure boot", secure),
        ("signatures", "enforced" if found.signatures else "not enforced"),
    ):
        click.echo(f"{name:<12} {value}")
    if found.lockdown not in {None, "none"} or found.signatures or not found.loading:
        refusal = machine.explain_refusal("Operation not permitted", found)
        click.echo(f"\n{refusal}", err=True)
