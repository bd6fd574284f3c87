"""The compiler's pipeline for what is only inlined into other compiled code."""

from __future__ import annotations

import uuid
from typing import Any

from numba import _dynfunc
from numba.core import codegen, typed_passes
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass

COMMON = {"error_model": "numpy", "nogil": True}


class _InsideLibrary(codegen.JITCodeLibrary):
    """Code that others inline: it has no machine code of its own, and is optimised where it ends up."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _InsideLowering(typed_passes.NativeLowering):
    # Numba knows passes by name, and a module may be imported again.
    _name = f"lowering_of_what_is_inlined_{uuid.uuid4().hex}"

    def run_pass(self, state: Any) -> bool:
        state.library = _InsideLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        # A key for Numba's tables, which is never called: there is no code at 0.
        key = _dynfunc.make_function(
            lowered.fndesc.lookup_module(), lowered.fndesc.qualname, "", 0, lowered.env, (state.library,)
        )
        state.targetctx.insert_user_function(key, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=key)
        return True


class _InsideCompiler(CompilerBase):
    """Numba's pipeline for what is only inlined into other compiled code.

    No wrappers for Python and C are made, and no machine code, and only single functions are optimised.
    """

    def define_pipelines(self) -> list[Any]:
        flags = self.state.flags
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes = [
            (_InsideLowering if each is typed_passes.NativeLowering else each, why) for each, why in manager.passes
        ]
        manager = PassManager("inside")
        manager.passes.extend(passes)
        manager.finalize()
        return [manager]


INSIDE = {**COMMON, "forceinline": True, "pipeline_class": _InsideCompiler}
