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

# The CUDA kernels need nvcc 13; everything else builds without.
if(OASIS_CUDA)
  find_package(CUDAToolkit 13 QUIET)
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE)
    # For this machine's GPUs, else for Hopper; each costs a minute of compiling. For others:
    # -DCMAKE_CUDA_ARCHITECTURES="80;90;100;120".
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
      OUTPUT_VARIABLE architectures ERROR_QUIET)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" architectures "${architectures}")
    list(TRANSFORM architectures REPLACE "\\." "")
    list(REMOVE_DUPLICATES architectures)
    if(NOT architectures)
      set(architectures 90)
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${architectures} CACHE STRING "GPU architectures")
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
    enable_language(CUDA)
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
    set(OASIS_CUDA_TOOLKIT ON)
  endif()
endif()
