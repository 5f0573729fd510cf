# Does what docs/adding-a-method.md says, in the build folder: takes the file from the page's first
# C++ block and adds the page's line to a copy of the registry.
file(READ ${PAGE} page)
string(FIND "${page}" "```cpp\n" begin)
math(EXPR begin "${begin} + 7")
string(SUBSTRING "${page}" ${begin} -1 rest)
string(FIND "${rest}" "```" end)
string(SUBSTRING "${rest}" 0 ${end} source)
file(WRITE ${OUTPUT}/gated_softmax1.cpp "${source}")

file(READ ${REGISTRY} registry)
string(REPLACE "  OASIS_METHOD(attnres) " "  OASIS_METHOD(gated_softmax1) OASIS_METHOD(attnres) "
       with_line "${registry}")
if(with_line STREQUAL registry)
  message(FATAL_ERROR "${REGISTRY}: the list OASIS_METHODS was not found")
endif()
file(WRITE ${OUTPUT}/registry.cpp "${with_line}")
