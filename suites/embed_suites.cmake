# Writes OUTPUT, a C++ source holding the files in SUITES (a list of paths).
set(entries "")
foreach(path IN LISTS SUITES)
  get_filename_component(name ${path} NAME_WE)
  file(READ ${path} text)
  string(APPEND entries "      {\"${name}\", R\"oasis_suite(${text})oasis_suite\"},\n")
endforeach()
file(WRITE ${OUTPUT} "#include \"suites/embedded_suites.h\"

namespace oasis {

const std::vector<EmbeddedSuite>& embedded_suites() {
  static const std::vector<EmbeddedSuite> suites = {
${entries}  };
  return suites;
}

}  // namespace oasis
")
