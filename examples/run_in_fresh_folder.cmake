# cmake -P run_in_fresh_folder.cmake FOLDER PROGRAM [ARGUMENT]...: runs PROGRAM in a new, empty FOLDER, so that nothing
# an earlier run left there helps or hinders.
set(command "")
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE 4 ${last})
  list(APPEND command "${CMAKE_ARGV${i}}")
endforeach()
set(folder "${CMAKE_ARGV3}")
file(REMOVE_RECURSE "${folder}")
file(MAKE_DIRECTORY "${folder}")
execute_process(COMMAND ${command} WORKING_DIRECTORY "${folder}" RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${command} ended with ${status}")
endif()
