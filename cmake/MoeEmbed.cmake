# moe_embed_zoo(OUTPUT FOLDER): writes OUTPUT, a source file that holds the text of every FOLDER/*.toml (moe/models/zoo_files.h).
function(moe_embed_zoo output folder)
  file(GLOB files CONFIGURE_DEPENDS "${folder}/*.toml")
  list(SORT files)
  set(entries "")
  foreach(path IN LISTS files)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${path}")
    cmake_path(GET path STEM LAST_ONLY name)
    file(READ "${path}" text)
    string(APPEND entries "    {\"${name}\", R\"embedded(${text})embedded\"},\n")
  endforeach()
  file(CONFIGURE OUTPUT "${output}" @ONLY CONTENT
[[// Made by CMake from moe/models/zoo.
#include <moe/models/zoo_files.h>

namespace moe::models {

namespace {

constexpr ZooFile kFiles[] = {
@entries@};

}  // namespace

std::span<const ZooFile> zoo_files() {
  return kFiles;
}

}  // namespace moe::models
]])
endfunction()
