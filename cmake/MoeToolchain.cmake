# Compiler, linker and cache settings of this project's own build; consumers inherit none of them.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(MOE_CCACHE ccache)
if(MOE_CCACHE)
  set(moe_ccache ${MOE_CCACHE})
endif()
if(MOE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What ccache must overlook to keep results that were compiled with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${MOE_CCACHE}")
endif()

find_program(MOE_MOLD mold)
if(MOE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# GCC 12 warns falsely of overlap, overflow and bounds in "literal" + std::string.
add_library(moe_flags INTERFACE)
target_compile_options(moe_flags INTERFACE -Wall -Wextra -Wno-unused-parameter $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-stringop-overflow;-Wno-array-bounds>
                                           $<$<CONFIG:Debug,RelWithDebInfo>:-g1>)
if(MOE_WERROR)
  # GCC 12 takes members of aggregates that are made inside a call for uninitialised.
  target_compile_options(moe_flags INTERFACE -Werror $<$<CXX_COMPILER_ID:GNU>:-Wno-error=maybe-uninitialized>)
endif()
if(MOE_SANITIZE)
  target_compile_options(moe_flags INTERFACE -fsanitize=${MOE_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(moe_flags INTERFACE -fsanitize=${MOE_SANITIZE})
  if(MOE_FUZZ)
    # What guides the fuzzers: which edges of the code an input reached, and what it was compared with.
    target_compile_options(moe_flags INTERFACE -fsanitize=fuzzer-no-link)
  endif()
  if(MOE_SANITIZE MATCHES undefined)
    target_compile_options(moe_flags INTERFACE -fno-sanitize-recover=undefined -fno-sanitize=vptr)
  endif()
endif()
