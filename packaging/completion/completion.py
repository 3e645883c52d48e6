#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""completion.py SHELL PROGRAM: the completion of a program for bash or zsh, made from the program's own --help."""

import collections
import os
import pathlib
import re
import string
import subprocess
import sys

TEMPLATES = pathlib.Path(__file__).parent

# The words of options that take one of a few; other values are names of files or texts.
VALUES = {
    "--backend": "auto host cuda opencl cpu ref",
    "--dtype": "f32 f16 bf16 q8_0 q4_0",
    "--x-dtype": "f32 f16 bf16",
    "--activation": "identity sigmoid relu gelu_erf gelu_tanh silu",
    "--format": "safetensors gguf",
    "--fused": "halves interleaved",
    "--op": "projection ffn routed",
    "--regime": "cold warm",
    "--tier": "quick full exhaustive",
    "--max-isa": "baseline avx2 avx2-vnni avx512 avx512-vnni avx512-bf16 avx512-amx neon neon-dotprod "
                 "neon-i8mm sve-128 sve-256",
}

Option = collections.namedtuple("Option", "names value text")

# "  -b, --backend=B            Backend ...", with the text in the next line where the names are long; "  -n N    Tokens".
OPTION = re.compile(r"^  (?:(-\S)(?:, | (?=[A-Z])|$)|    )(?:(--[\w-]+))?(?:=?([A-Z]\S*))?(?:  +(.*))?$")


def help_of(command):
    """With every text in one line, however long."""
    return subprocess.run([*command, "--help"], stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "ARGP_HELP_FMT": "rmargin=4000"}).stdout


def options_of(text):
    for line in text.splitlines():
        match = OPTION.match(line)
        if match and (match[1] or match[2]):
            names = [name for name in match.group(1, 2) if name]
            yield Option(names, match[3], match[4] or "")


def commands_of(text):
    """(name, summary) of each line under "Commands:"."""
    section = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.MULTILINE)
    return [tuple(line.split(None, 1)) for line in section[1].splitlines()] if section else []


def values_of(option):
    return VALUES.get(option.names[-1], "")


def bash_options(options):
    return " ".join(option.names[-1] + ("=" if option.value and option.names[-1].startswith("--") else "")
                    for option in options)


def bash(name, commands, options):
    lines = {"options": [], "values": {}}
    for command, listed in options.items():
        lines["options"].append(f"    '{command}') echo '{bash_options(listed)}' ;;")
        for option in listed:
            if option.value:
                lines["values"][" | ".join(option.names)] = f"echo '{values_of(option)}'"
    values = [f"    {names}) {echo} ;;" for names, echo in lines["values"].items()]
    return {"name": name, "function": name.replace("-", "_"), "commands": " ".join(word for word, _ in commands),
            "options": "\n".join(lines["options"]), "values": "\n".join(values)}


def quoted(text):
    return text.replace("'", "'\\''").replace("[", "(").replace("]", ")").replace(":", r"\:")


def zsh_option(option):
    """A specification of _arguments for each of the names."""
    for name in option.names:
        value = f":{option.value}:" + (f"({values_of(option)})" if values_of(option) else "_files") if option.value else ""
        equals = "=" if option.value and name.startswith("--") else ""
        yield f"'{name}{equals}[{quoted(option.text)}]{value.replace('=', '')}'"


def zsh(name, commands, options):
    cases = []
    for command, listed in options.items():
        specifications = [word for option in listed for word in zsh_option(option)]
        cases.append(f"    '{command}') specifications=({' '.join(specifications)}) ;;")
    described = " ".join(f"'{word}:{quoted(summary)}'" for word, summary in commands)
    return {"name": name, "function": name.replace("-", "_"), "commands": described, "options": "\n".join(cases)}


def main():
    shell, program = sys.argv[1:]
    name = pathlib.Path(program).name
    text = help_of([program])
    commands = commands_of(text)
    options = {name: list(options_of(text))}
    for command, _ in commands:
        options[f"{name} {command}"] = list(options_of(help_of([program, command])))
    template = string.Template((TEMPLATES / f"template.{shell}").read_text())
    sys.stdout.write(template.substitute({"bash": bash, "zsh": zsh}[shell](name, commands, options)))


if __name__ == "__main__":
    main()
