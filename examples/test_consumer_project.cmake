# Installs the built tree `build` into a new folder under `work`, builds the project `source` against what was installed,
# and runs it; the installed program must start too.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGV} ended with ${status}")
  endif()
endfunction()

file(REMOVE_RECURSE "${work}")
run(${CMAKE_COMMAND} --install ${build} --config ${config} --prefix ${work}/install)
run(${work}/install/${bin}/moe --version)
run(${CMAKE_COMMAND} -S ${source} -B ${work}/build -G ${generator} -D CMAKE_BUILD_TYPE=${config}
    -D CMAKE_PREFIX_PATH=${work}/install -D MOE_TORCH=${torch} -D CMAKE_CXX_COMPILER=${compiler}
    -D CMAKE_CXX_COMPILER_LAUNCHER=${launcher} -D CMAKE_CXX_FLAGS=${flags})
run(${CMAKE_COMMAND} --build ${work}/build --config ${config})
run(${work}/build/consumer)
