# Torch comes from the wheel in the virtual environment. Its own TorchConfig.cmake refuses to
# configure a CUDA wheel on a machine without the CUDA toolkit, so the libraries are imported here:
# the same binary runs on the CPU and, where the wheel finds a GPU, on CUDA.
set(OASIS_PYTHON ${CMAKE_SOURCE_DIR}/.venv/bin/python CACHE FILEPATH "Python with the torch wheel")
execute_process(
  COMMAND ${OASIS_PYTHON} -c
    "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin))"
  OUTPUT_VARIABLE OASIS_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE python_status)
if(NOT python_status EQUAL 0)
  message(FATAL_ERROR "${OASIS_PYTHON} has no torch wheel; run scripts/setup first")
endif()
message(STATUS "Torch: ${OASIS_TORCH_ROOT}")

add_library(oasis_torch INTERFACE)
target_include_directories(oasis_torch SYSTEM INTERFACE
  ${OASIS_TORCH_ROOT}/include ${OASIS_TORCH_ROOT}/include/torch/csrc/api/include)
target_link_directories(oasis_torch INTERFACE ${OASIS_TORCH_ROOT}/lib)
# torch_cuda is loaded at run time, by models/device.cpp, only when a GPU is asked for.
target_link_libraries(oasis_torch INTERFACE torch_cpu c10)
target_link_options(oasis_torch INTERFACE -Wl,-rpath,${OASIS_TORCH_ROOT}/lib)
# at::parallel_for is a template over OpenMP; link the runtime that the wheel itself uses, so that
# one pool of threads serves both (two pools would spin against each other).
file(GLOB torch_gomp ${OASIS_TORCH_ROOT}/lib/libgomp*.so*)
target_compile_options(oasis_torch INTERFACE -fopenmp)
target_compile_definitions(oasis_torch INTERFACE AT_PARALLEL_OPENMP=1)
if(torch_gomp)
  list(GET torch_gomp 0 torch_gomp)
  target_link_libraries(oasis_torch INTERFACE ${torch_gomp})
else()
  target_link_options(oasis_torch INTERFACE -fopenmp)
endif()

# fmt: the wheel's copy, header-only, without the rest of the wheel's include folder.
set(fmt_include ${CMAKE_SOURCE_DIR}/.venv/include-fmt)  # one place for every build folder: ccache can share
file(MAKE_DIRECTORY ${fmt_include})
file(CREATE_LINK ${OASIS_TORCH_ROOT}/include/fmt ${fmt_include}/fmt SYMBOLIC)
add_library(oasis_fmt INTERFACE)
target_include_directories(oasis_fmt SYSTEM INTERFACE ${fmt_include})
target_compile_definitions(oasis_fmt INTERFACE FMT_HEADER_ONLY=1)

find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(SQLiteCpp REQUIRED)
find_package(CURL REQUIRED)
find_package(LibArchive REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
find_library(SENTENCEPIECE_TRAIN_LIBRARY sentencepiece_train REQUIRED)
# Static where there is one: its version changes with every release of a distribution.
find_library(UTF8PROC_LIBRARY NAMES libutf8proc.a utf8proc REQUIRED)
