# SPDX-License-Identifier: MIT
"""ggml as a peer of mglu-bench: the protocol of bench/peers/README.md, with a small layer of each dtype."""
import os
import subprocess
import unittest


def answers(*requests):
    done = subprocess.run([os.environ["MGLU_PEER"]], input="".join(f"{line}\n" for line in requests), timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
                          env={**os.environ, "MGLU_BENCH_THREADS": "2"})  # fmt: skip
    return done.stdout.splitlines()


class PeerTest(unittest.TestCase):
    def test_every_dtype_of_projections_and_blocks_is_timed(self):
        for op in ("projection", "ffn"):
            for dtype in ("f32", "f16", "bf16", "q8_0", "q4_0"):
                opening = f"open {op} 64 96 3 100000 1,2 {dtype} f32"
                ready, cases = answers(opening)
                self.assertRegex(ready, "^ready ggml [0-9]")
                self.assertRegex(cases, f"^cases glu:{dtype}:0( glu-repacked:{dtype}:0)?$")
                for answer in answers(opening, *(f"run {case}" for case in cases.split()[1:]))[2:]:
                    self.assertRegex(answer, "^us [0-9.]+$")

    def test_what_ggml_can_not_compute_is_an_error_and_the_next_request_is_answered(self):
        cases = {
            "open routed 64 96 1 0 1 f16 f32": "no routing",
            "open projection 64 70 1 0 1 q8_0 f32": "whole blocks",
            "open projection 64 96 1 0 1 f64x f32": "weights are",
            "run glu:f16:0": "no case",
            "close": "unknown request",
        }
        got = answers(*cases, "open projection 64 96 1 0 1 f16 f32")[1:]
        for answer, words in zip(got, cases.values()):
            self.assertRegex(answer, f"^error .*{words}")
        self.assertRegex(got[-1], "^cases glu:f16:0")


if __name__ == "__main__":
    unittest.main()
