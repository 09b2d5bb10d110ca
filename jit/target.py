"""Target: the machine that code is made for."""

from __future__ import annotations

from jit.dataclass import dataclass


@dataclass(frozen=True)
class Target:
    """A machine, as code generation and schedules see it.

    Attributes:
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the processor.
        features: LLVM's feature string, such as "+avx2,+fma".
        vector_bytes: The width of vectors.
        registers: How many vector registers there are.
        hurry: Code is made in half of the time, and is slower: it will run a few times only.
        products: In which precision a library multiplies matrices of float32; "": there is none.
        convolutions: Likewise one that convolves.
        alignment: What the address of each buffer is a multiple of, in bytes.
        cache: Bytes of the largest cache that a core writes to; 0: nobody knows.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    hurry: bool = False
    products: str = ""
    convolutions: str = ""
    alignment: int = 1
    cache: int = 0

    @property
    def is_gpu(self) -> bool:
        """Whether a thread is cheap, so that it takes as little as a vector."""
        return self.triple == NVIDIA

    def units(self, dtype: str) -> str:
        """In what tensor cores multiply elements of a dtype: "tf32", or that dtype; "": in none."""
        if not self.is_gpu or generation(self.cpu) < TENSOR_CORES:
            return ""
        if dtype == "float32":
            return "tf32" if self.products == "tf32" else ""
        return dtype if dtype in ("float16", "bfloat16") else ""

    @property
    def pairs(self) -> bool:
        """Whether it adds two products of bfloat16 in one instruction: `jit.loops.pairs`."""
        return "+avx512bf16" in self.features.split(",")

    @property
    def masks(self) -> bool:
        """Whether it reads a part of a vector in no more time than all of it."""
        return self.vector_bytes == 64  # AVX-512; others blend, or read element by element

    @property
    def sizes(self) -> tuple[str, str]:
        """What schedules go by beside `key`, in the keys of plans."""
        return str(self.registers), str(self.cache)

    def lanes(self, itemsize: int) -> int:
        """How many elements of this size a vector holds."""
        return max(1, self.vector_bytes // itemsize)

    @property
    def key(self) -> str:
        """Tells this target from others, in the keys of caches."""
        hurry = " hurry" if self.hurry else ""
        products = f" {self.products}" if self.products else ""
        products += f" convolutions {self.convolutions}" if self.convolutions else ""
        return f"{self.triple} {self.cpu} {self.features} {self.vector_bytes}{hurry}{products}"


NVIDIA = "nvptx64-nvidia-cuda"
# Versions of the language PTX: the first that knows a machine, as drivers refuse later ones.
PTX, PTX_OF_BLACKWELL = "+ptx80", "+ptx88"


TENSOR_CORES = 80  # the first generation whose tensor cores multiply all of these dtypes


def generation(architecture: str) -> int:
    """The number of an NVIDIA GPU's architecture, such as 90."""
    return int("".join(filter(str.isdigit, architecture)))


def gpu(architecture: str) -> Target:
    """An NVIDIA GPU, such as "sm_90"; a vector is what a thread loads or stores at once."""
    features = PTX if generation(architecture) <= 90 else PTX_OF_BLACKWELL
    return Target(NVIDIA, architecture, features, 16, 64, alignment=16)


# Forced targets for tests and for comparing: the features that each name switches on.
LEVELS = {
    "avx512": ("x86-64-v4", 64, 32),
    "avx2": ("x86-64-v3", 32, 16),
}
