"""How kernels are compiled, cached and launched: the only folder that names a Numba option.

Six things here are not Numba's defaults, each for a measured reason.

* **Cache.** Numba stamps a cached function with the source file of that function alone, so an edit in a callee
  elsewhere runs old machine code; and two processes that fill one index can swap entries. Here every cached file's
  name holds a hash of *all* kernel sources, of what other packages registered for the classes in the signature, and of
  the signature, and there is no index to race for. Files that another user could have written are not read. Before it
  loads machine code, Numba also gets ready to compile, which takes longer than a small fit; here it does so when it
  compiles.
* **Code ahead.** A wheel brings machine code for a kind of processor, which is looked for first: a first fit compiles
  nothing.
* **One machine code.** The same source, compiled into a serial and into a parallel caller, or in one process and from
  another's cache, is optimised differently and rounds differently. So all kernels are inlined into the function that
  Python calls (no second copy of a symbol exists that could be linked instead), and the parallel form of a
  :class:`Driver` calls the very machine code of the serial form, by its address. The loop over lanes is compiled once
  for all of them: each of its own took Numba seconds.
* **Kernels.** Numba optimises every function, and makes wrappers for Python and C and machine code of it, although
  nobody calls one that is inlined everywhere, where all of it is optimised again. Kernels are spared that where
  compiled code calls them: a first fit compiles in half of the time, and runs as fast.
* **Threads.** A parallel region may not be entered twice at once under the ``workqueue`` layer, and never in a forked
  child once GNU OpenMP has run in the parent. :class:`Driver` takes a lock in the first case and runs its serial twin
  in the second; both give the same bits, because the lanes of a pass do not depend on threads.
* **Families.** Functions passed as arguments miss the disk cache in every process. A :func:`dispatched` function is
  chosen by the class of its first argument when it is compiled, costs nothing at run time, and is cached.
"""

from fastgmm.kernels.compiling.cache import Build, cache_folder, logged_builds
from fastgmm.kernels.compiling.functions import (
    dispatched,
    entry,
    exact_kernel,
    fused_multiply_add,
    is_switched_off,
    kernel,
    multiply_add,
    spliced_kernel,
    vector_code,
)
from fastgmm.kernels.compiling.launch import Driver, address_of, call_at, thread_count
from fastgmm.kernels.compiling.references import borrowed, keep
from fastgmm.kernels.compiling.sources import SOURCE_HASH
from fastgmm.kernels.compiling.target import HAS_32_REGISTERS, LANES
from fastgmm.kernels.compiling.waiting import compiling_seconds

__all__ = [
    "HAS_32_REGISTERS",
    "LANES",
    "SOURCE_HASH",
    "Build",
    "Driver",
    "address_of",
    "borrowed",
    "cache_folder",
    "call_at",
    "compiling_seconds",
    "dispatched",
    "entry",
    "exact_kernel",
    "fused_multiply_add",
    "is_switched_off",
    "keep",
    "kernel",
    "logged_builds",
    "multiply_add",
    "spliced_kernel",
    "thread_count",
    "vector_code",
]
