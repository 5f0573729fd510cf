# Headers take most of the compile time, so targets share precompiled ones: PRECOMPILED names the
# target whose header a target uses.

# oasis_add_library(name SOURCES … LINK … [PRECOMPILED target]): a static library of our own,
# warnings as errors.
function(oasis_add_library name)
  cmake_parse_arguments(arg "" "PRECOMPILED" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE oasis_warnings)
  if(arg_PRECOMPILED)
    target_precompile_headers(${name} REUSE_FROM ${arg_PRECOMPILED})
  endif()
endfunction()

# oasis_add_test(name SOURCES … LINK … [PRECOMPILED target]): a GoogleTest program under ctest, one
# ctest per program. Less optimized than the program: compiling tests costs more than running them.
function(oasis_add_test name)
  cmake_parse_arguments(arg "" "PRECOMPILED" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gtest_main oasis_warnings)
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  if(arg_PRECOMPILED)
    target_precompile_headers(${name} REUSE_FROM ${arg_PRECOMPILED})
  endif()
  add_test(NAME ${name} COMMAND ${name})
endfunction()
