# SPDX-License-Identifier: MIT
"""A peer of mglu-bench: PyTorch on an NVIDIA GPU, in f16. bench/peers/README.md has the protocol."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
import peer  # noqa: E402 (beside mglu-bench's other peers)


class TorchOnGpu(peer.Torch):
    """The layers of peer.Torch with everything on the device."""

    variants = {"glu": ["f16"], "naive": ["f16"]}

    def __init__(self):
        super().__init__()
        if not self.torch.cuda.is_available():
            raise ImportError("PyTorch finds no GPU")
        self.torch.set_default_device("cuda")
        self.dtypes = {"f16": self.torch.float16}
        self.about += f" on {self.torch.cuda.get_device_name()}"


class CaseOnGpu(peer.Case):
    """Calls are enqueued on the stream one after the other and timed by events."""

    BYTES = {"f16": 2}

    def calls_us(self, calls):
        """Microseconds that a number of calls take."""
        cuda = self.library.torch.cuda
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self.call()
        begin.record()
        for _ in range(calls):
            self.call()
        end.record()
        end.synchronize()
        return 1e3 * begin.elapsed_time(end)

    def prepare(self):
        self.copies = [self.matrices() for _ in range(self.copy_count)]
        if not self.library.check(self.call()):
            raise ArithmeticError("the result is not finite")
        self.calls = max(1, round(1e6 * peer.SAMPLE_SECONDS / self.calls_us(1)))

    def time(self):
        return 1e-6 * self.calls_us(self.calls) / self.calls


if __name__ == "__main__":
    peer.Case = CaseOnGpu
    peer.Torch = TorchOnGpu
    sys.argv[1:] = ["torch"]
    peer.main()
