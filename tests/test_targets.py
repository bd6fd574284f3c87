"""Bits of rows as other processors compute them: tests of tests/test_bits.py, compiled for those whose code runs here.

For this processor as it is, that file is a part of the suite.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import pytest

V2 = "cx16 popcnt sse3 sse4.1 sse4.2 ssse3"
HASWELL = f"{V2} avx avx2 bmi bmi2 f16c fma lzcnt movbe"
SKYLAKE = f"{HASWELL} adx avx512bw avx512cd avx512dq avx512f avx512vl clwb rdseed"
LATER = f"{SKYLAKE} avx512bf16 avx512bitalg avx512vbmi avx512vbmi2 avx512vnni avx512vpopcntdq gfni vaes vpclmulqdq"
TARGETS = {
    "x86-64-v2": V2,
    "haswell": HASWELL,
    "skylake-avx512": SKYLAKE,
    "znver4": f"{LATER} clzero sse4a",
    "sapphirerapids": f"{LATER} amx-int8 amx-tile avx512fp16 avxvnni",
}

# Tiles and blocks of 512-bit vectors, of which LLVM makes two halves each where the processor has none so wide.
WIDE = """
import sys
import numba
from numba.core.registry import cpu_target
cpu_target.target_context.codegen()  # for this processor, as it is
numba.config.CPU_FEATURES = "+avx512f"
from fastgmm.kernels.vector import code
assert code.LANES == 8 and code.ROWS == 8
code.EXP_TABLE = None  # an instruction of those processors alone
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""

# Code for ARM's vectors of two float64, as LLVM makes it here: what it is made of, not what it computes. Of this
# processor's instructions only that remains which Numba's own runtime counts references with.
FOREIGN = '''
import re
import sys
import llvmlite.binding as llvm
from numba.core.codegen import CPUCodeLibrary
modules = []
optimise = CPUCodeLibrary._optimize_final_module
def keep(library):
    modules.append(str(library._final_module))
    return optimise(library)
CPUCodeLibrary._optimize_final_module = keep
import numpy as np
from fastgmm import GaussianMixture
from fastgmm.kernels.compiling import HAS_32_REGISTERS, LANES
assert (LANES, HAS_32_REGISTERS) == (2, True)
X = np.random.default_rng(0).normal(size=(60, 3))
GaussianMixture(2, random_state=0).fit(X).predict(X)
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
COUNT = "@llvm.x86.atomic.sub.cc.i64"
SAME = """define internal i8 @count(ptr %p, i32 %condition, i64 %v, i32 %order) {
  %old = atomicrmw sub ptr %p, i64 %v seq_cst
  %is = icmp eq i64 %old, %v
  %byte = zext i1 %is to i8
  ret i8 %byte
}"""
for triple, processor in zip(sys.argv[1::2], sys.argv[2::2]):
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=2)
    fused = 0
    for text in modules:
        text = re.sub(f"declare i8 {COUNT}.*", SAME, text).replace(COUNT, "@count")
        assert "@llvm.x86" not in text
        module = llvm.parse_assembly(re.sub("target (triple|datalayout) = .*", "", text))
        module.triple, module.data_layout = triple, str(machine.target_data)
        fused += len(re.findall(r"fmla(?:\\.2d)?\\s+v\\d+(?:\\.2d)?", machine.emit_assembly(module)))
    print(len(modules), fused)
'''

# What passes are made of, for each family: distances and responsibilities. The rest would compile for minutes.
TILES = "tile or other_components or no_choice"
# A pass that skips, too: with 512-bit vectors it had other bits, whichever processor has them.
MORE = {"skylake-avx512": f"{TILES} or (skipped and tied)"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of the x86-64 kind"),
]


def _pass(command, chosen, **environment):
    tests = ["-q", "-p", "no:cacheprovider", "-k", chosen, str(Path(__file__).with_name("test_bits.py"))]
    done = subprocess.run(
        [sys.executable, *command, *tests], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("name", TARGETS)
def test_bits_do_not_depend_on_the_place(tmp_path, name):
    host = llvmlite.binding.get_host_cpu_features()
    missing = [feature for feature in TARGETS[name].split() if not host.get(feature)]
    if missing:
        pytest.skip(f"this processor cannot run code for {name}: it lacks {', '.join(missing)}")
    features = ",".join(f"+{feature}" for feature in TARGETS[name].split())
    processor = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    _pass(["-m", "pytest"], MORE.get(name, TILES), NUMBA_CACHE_DIR=str(tmp_path), **processor)


def test_bits_of_vectors_twice_as_wide_as_registers(tmp_path):
    _pass(["-c", WIDE], TILES, NUMBA_CACHE_DIR=str(tmp_path))


def test_kernels_compile_for_arm(tmp_path):
    wanted = ["aarch64-unknown-linux-gnu", "neoverse-n1", "arm64-apple-macosx", "apple-m1"]
    llvmlite.binding.initialize_all_targets()
    try:
        for triple in wanted[::2]:
            llvmlite.binding.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip("this LLVM cannot compile for ARM")
    told = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+neon", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN, *wanted], capture_output=True, text=True, env=os.environ | told
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for n_modules, n_fused in (map(int, line.split()) for line in lines):
        assert n_modules > 20
        # A product and a sum of vectors in one instruction: as many as in what distances and moments are made of.
        assert n_fused > 100
