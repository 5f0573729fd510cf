# Warnings are errors for our own code; dependencies come in as SYSTEM includes.
add_library(oasis_warnings INTERFACE)
target_compile_options(oasis_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align
  -Wextra-semi)

if(OASIS_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer -g1 -O1)
  add_link_options(-fsanitize=address,undefined)
endif()

find_program(OASIS_CCACHE ccache)
if(OASIS_CCACHE)
  # Precompiled headers are cached only with these two allowances.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${OASIS_CCACHE})
endif()

find_program(OASIS_MOLD mold)
if(OASIS_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
