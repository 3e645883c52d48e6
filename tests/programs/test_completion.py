# SPDX-License-Identifier: MIT
"""Completion for bash and zsh offers what the program accepts. Needs MGLU_COMPLETION, the script that makes it."""

import importlib.util
import os
import shutil
import subprocess
import unittest

from harness import PROGRAM, ProgramTest, instruction_sets, run

SPECIFICATION = importlib.util.spec_from_file_location("completion", os.environ["MGLU_COMPLETION"])
completion = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(completion)


def made_for(shell):
    result = subprocess.run(["python3", os.environ["MGLU_COMPLETION"], shell, PROGRAM], stdout=subprocess.PIPE,
                            text=True, check=True)
    return result.stdout


# What is typed, as bash splits it; what must be offered, and what must not be.
BASH_CASES = [
    (["mglu", ""], ["devices", "pack", "help"], ["--help"]),
    (["mglu", "in"], ["inspect"], ["pack"]),
    (["mglu", "help", "g"], ["generate"], ["run"]),
    (["mglu", "--"], ["--help", "--version"], ["--json"]),
    (["mglu", "pack", "--d"], ["--dtype="], ["--fused="]),
    (["mglu", "generate", "-"], ["-n", "--prompt="], ["--dtype="]),
    (["mglu", "pack", "--dtype", "=", "q"], ["q8_0", "q4_0"], ["f16"]),
    (["mglu", "pack", "--dtype", "="], ["f16"], ["silu"]),
    (["mglu", "run", "-b", ""], ["auto", "cpu"], ["--help"]),
    (["mglu", "run", "--threads", "=", ""], [], ["cpu", "--help"]),
    (["mglu", "inspect", ""], [], ["devices"]),
]


class BashTest(ProgramTest):
    def offered(self, words):
        script = self.folder / "completion.bash"
        script.write_text(made_for("bash"))
        quoted = " ".join(f"'{word}'" for word in words)
        result = subprocess.run(
            ["bash", "-c", f"set -u; . {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _mglu; "
             'printf "%s\\n" "${COMPREPLY[@]-}"'],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
        self.assertEqual(result.stderr, "")
        return result.stdout.split()

    def test_offers(self):
        for words, offered, others in BASH_CASES:
            with self.subTest(" ".join(words)):
                found = self.offered(words)
                self.assertTrue(set(offered) <= set(found), found)
                self.assertFalse(set(others) & set(found), found)
                self.assertTrue(offered or not found, found)


class TruthTest(ProgramTest):
    """The program knows every option that is offered, and every value."""

    REFUSED = "unknown|neither|unrecognized|invalid option"

    def said(self, *arguments):
        return run(*arguments).stderr.decode()

    def test_options_and_values(self):
        commands = completion.commands_of(completion.help_of([PROGRAM]))
        self.assertGreater(len(commands), 6)
        for command, _ in commands:
            for option in completion.options_of(completion.help_of([PROGRAM, command])):
                for value in completion.values_of(option).split():
                    with self.subTest(f"{command} {option.names[-1]}={value}"):
                        self.assertNotRegex(self.said(command, f"{option.names[-1]}={value}"), self.REFUSED)
                for name in option.names:
                    with self.subTest(f"{command} {name}"):
                        said = self.said(command, name, *["1"] * bool(option.value))
                        self.assertNotRegex(said, "unrecognized|invalid option")
        self.assertLessEqual(set(instruction_sets()), set(completion.VALUES["--max-isa"].split()))
        self.assertRegex(self.said("pack", "--dtype=f17"), self.REFUSED)
        self.assertRegex(self.said("pack", "--type=f16"), self.REFUSED)


class ZshTest(ProgramTest):
    def test_zsh_reads_it(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh was not found: install zsh")
        script = self.folder / "_mglu"
        script.write_text(made_for("zsh"))
        subprocess.run(["zsh", "-n", script], check=True)
        self.assertIn("'--dtype=[Store the matrices as f16, bf16, f32, q8_0 or q4_0 (", script.read_text())


if __name__ == "__main__":
    unittest.main()
