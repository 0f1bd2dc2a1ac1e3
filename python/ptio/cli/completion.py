# SPDX-License-Identifier: Apache-2.0
"""ptio completion: a script that makes a shell complete verbs and options."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import Any

from ptio.cli._exit import Exit

_EXAMPLES = """\
where it goes:
  bash   ptio completion bash > ~/.local/share/bash-completion/completions/ptio
  zsh    ptio completion zsh >> ~/.zshrc
  fish   ptio completion fish > ~/.config/fish/completions/ptio.fish
"""

_BASH = """\
_ptio() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{verbs}"
    else
        case "$verb ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
            *) case "$current" in -*) case "$verb" in
{options}
            esac ;; esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _ptio ptio
"""
_ZSH = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "completion",
        description="Print a script that makes a shell complete the verbs of ptio, their options "
        "and the names of files.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    script = {"bash": _bash, "zsh": lambda: _ZSH + _bash(), "fish": _fish}[arguments.shell]()
    print(script, end="")
    return Exit.FINE


def _verbs() -> dict[str, argparse.ArgumentParser]:
    from ptio.cli import VERBS, parser

    for action in parser(tuple(VERBS))._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no verbs")


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if action.option_strings)


def _bash() -> str:
    options, choices = [], []
    for verb, parser in _verbs().items():
        names = [name for action in _options(parser) for name in action.option_strings]
        if names:
            options.append(f'                {verb}) words="{" ".join(names)}" ;;')
        for action in parser._actions:
            if action.choices:
                # What stands behind the option, or first behind the verb.
                before = action.option_strings or [verb]
                patterns = "|".join(f'"{verb} {name}"' for name in before)
                choices.append(f'            {patterns}) words="{" ".join(action.choices)}" ;;')
    return _BASH.format(
        verbs=" ".join((*_verbs(), "--help", "--version")),
        choices="\n".join(choices),
        options="\n".join(options),
    )


def _fish() -> str:
    from ptio.cli import VERBS

    lines = []
    for verb, parser in _verbs().items():
        what = shlex.quote(VERBS[verb])
        lines.append(f"complete -c ptio -n __fish_use_subcommand -f -a {verb} -d {what}")
        seen = f"-n '__fish_seen_subcommand_from {verb}'"
        for action in parser._actions:
            flags = [
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in action.option_strings
            ]
            if action.choices:
                flags.append(f"-x -a {shlex.quote(' '.join(action.choices))}")
            elif action.option_strings and action.nargs != 0:
                flags.append("-r")
            if flags:
                text = shlex.quote(action.help or "")
                lines.append(f"complete -c ptio {seen} {' '.join(flags)} -d {text}")
    return "\n".join(lines) + "\n"
