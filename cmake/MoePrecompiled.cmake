# Headers that are compiled once for the library, the program, the examples and the tests (MOE_PCH): libtorch's modules
# alone cost ten seconds of processor time in every translation unit. A file still includes what it uses: the preset
# "debug" builds without this and shows what is missing.
# Reading them costs some seconds too, so files that do without libtorch's modules are compiled without.
option(MOE_PCH "Precompile the headers of libtorch" ON)

if(MOE_PCH)
  set(empty ${CMAKE_CURRENT_BINARY_DIR}/precompiled_headers.cpp)
  file(CONFIGURE OUTPUT ${empty} CONTENT "")
  add_library(moe_precompiled OBJECT EXCLUDE_FROM_ALL ${empty})
  target_link_libraries(moe_precompiled PRIVATE moe::torch moe_flags)
  target_precompile_headers(moe_precompiled PRIVATE
    <torch/nn/module.h> <torch/nn/pimpl.h> <torch/csrc/autograd/autograd.h> <torch/csrc/autograd/custom_function.h>
    <ATen/TensorOperators.h> <ATen/ops/empty.h>
    <algorithm> <functional> <map> <memory> <optional> <string> <vector>)
  # So that ccache keeps results (its manual, "Precompiled headers").
  target_compile_options(moe_precompiled PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endif()

# moe_use_precompiled(TARGET)
function(moe_use_precompiled target)
  if(MOE_PCH)
    target_precompile_headers(${target} REUSE_FROM moe_precompiled)
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL EXECUTABLE)
      # GCC refuses headers that were compiled for another kind of position-independent code.
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${target} PRIVATE -fPIC)
    endif()
  endif()
endfunction()
