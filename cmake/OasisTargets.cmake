# Headers take most of the compile time, so targets share precompiled ones. PRECOMPILED names the
# target whose header a target uses.
function(oasis_use_precompiled name from)
  if(from AND NOT from STREQUAL name)
    target_precompile_headers(${name} REUSE_FROM ${from})
  endif()
endfunction()

# oasis_add_library(name SOURCES … LINK … [PRECOMPILED target]): a static library of our own,
# warnings as errors.
function(oasis_add_library name)
  cmake_parse_arguments(arg "" "PRECOMPILED" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE oasis_warnings)
  oasis_use_precompiled(${name} "${arg_PRECOMPILED}")
endfunction()

# oasis_add_test(name SOURCES … LINK … [PRECOMPILED target]): a GoogleTest program under ctest, one
# ctest per program.
function(oasis_add_test name)
  cmake_parse_arguments(arg "" "PRECOMPILED" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gtest_main oasis_warnings)
  oasis_use_precompiled(${name} "${arg_PRECOMPILED}")
  add_test(NAME ${name} COMMAND ${name})
endfunction()
