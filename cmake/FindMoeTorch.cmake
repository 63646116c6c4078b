# Finds a libtorch (CPU or CUDA wheel, or an unpacked archive) and defines the target moe::torch.
#
# The stock find_package(Torch) demands nvcc for a CUDA wheel and forgets the wheel's own libgomp, without which
# at::parallel_for runs serially. This finder needs neither.
#
#   MOE_TORCH   folder that holds include/ and lib/ (variable or environment); default: the torch package of the
#               project's .venv, as `make setup` puts it there.
set(_moe_torch_candidates "${MOE_TORCH}" "$ENV{MOE_TORCH}")
file(GLOB _moe_venv_torch "${CMAKE_CURRENT_LIST_DIR}/../.venv/lib/python3*/site-packages/torch")
list(APPEND _moe_torch_candidates ${_moe_venv_torch})

find_path(MoeTorch_ROOT NAMES include/ATen/core/Tensor.h PATHS ${_moe_torch_candidates} NO_DEFAULT_PATH
          DOC "libtorch folder with include/ and lib/")
if(MoeTorch_ROOT)
  find_library(MoeTorch_CPU_LIBRARY torch_cpu PATHS "${MoeTorch_ROOT}/lib" NO_DEFAULT_PATH)
  find_library(MoeTorch_LIBRARY torch PATHS "${MoeTorch_ROOT}/lib" NO_DEFAULT_PATH)
  find_library(MoeTorch_C10_LIBRARY c10 PATHS "${MoeTorch_ROOT}/lib" NO_DEFAULT_PATH)
  find_library(MoeTorch_CUDA_LIBRARY torch_cuda PATHS "${MoeTorch_ROOT}/lib" NO_DEFAULT_PATH)
  find_library(MoeTorch_C10_CUDA_LIBRARY c10_cuda PATHS "${MoeTorch_ROOT}/lib" NO_DEFAULT_PATH)
  # One OpenMP runtime in the process: the one libtorch loads.
  file(GLOB MoeTorch_GOMP_LIBRARY "${MoeTorch_ROOT}/lib/libgomp*.so*")
  if(NOT MoeTorch_GOMP_LIBRARY)
    find_library(MoeTorch_SYSTEM_GOMP NAMES gomp libgomp.so.1)
    set(MoeTorch_GOMP_LIBRARY "${MoeTorch_SYSTEM_GOMP}")
  endif()
  file(STRINGS "${MoeTorch_ROOT}/include/torch/headeronly/version.h" _moe_version_lines
       REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX MATCHALL "[0-9]+" _moe_version_numbers "${_moe_version_lines}")
  list(JOIN _moe_version_numbers "." MoeTorch_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MoeTorch
  REQUIRED_VARS MoeTorch_ROOT MoeTorch_LIBRARY MoeTorch_CPU_LIBRARY MoeTorch_C10_LIBRARY MoeTorch_GOMP_LIBRARY
  VERSION_VAR MoeTorch_VERSION
  REASON_FAILURE_MESSAGE "Run `make setup`, or set MOE_TORCH to an installed libtorch >= 2.11 (the folder with include/ and lib/).")

if(MoeTorch_FOUND AND MoeTorch_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "libtorch ${MoeTorch_VERSION} in ${MoeTorch_ROOT} is too old: 2.11 or newer is needed.")
endif()

if(MoeTorch_FOUND AND NOT TARGET moe::torch)
  add_library(moe::torch INTERFACE IMPORTED)
  set_target_properties(moe::torch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${MoeTorch_ROOT}/include;${MoeTorch_ROOT}/include/torch/csrc/api/include")
  # libtorch's own compile definitions, and OpenMP so that at::parallel_for is parallel in our files too. Clang would
  # bring a second OpenMP runtime into the process: there at::parallel_for stays serial (the fuzzers are built so).
  target_compile_options(moe::torch INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fopenmp>)
  target_compile_features(moe::torch INTERFACE cxx_std_20)
  # --no-as-needed: operators register themselves when the library loads.
  target_link_options(moe::torch INTERFACE "LINKER:--no-as-needed")
  target_link_libraries(moe::torch INTERFACE
    "${MoeTorch_LIBRARY}" "${MoeTorch_CPU_LIBRARY}" "${MoeTorch_C10_LIBRARY}" "${MoeTorch_GOMP_LIBRARY}")
  if(MoeTorch_CUDA_LIBRARY)
    target_link_libraries(moe::torch INTERFACE "${MoeTorch_CUDA_LIBRARY}" "${MoeTorch_C10_CUDA_LIBRARY}")
  endif()
endif()
mark_as_advanced(MoeTorch_LIBRARY MoeTorch_CPU_LIBRARY MoeTorch_C10_LIBRARY MoeTorch_CUDA_LIBRARY
                 MoeTorch_C10_CUDA_LIBRARY MoeTorch_SYSTEM_GOMP)
