# A test program is one file; its name is its path. Tests may look into every folder.

# dyn_test(<ctest name> <source> LABEL <label> [ARGS ...])
function(dyn_test name source)
    cmake_parse_arguments(T "" "LABEL" "ARGS" ${ARGN})
    string(REPLACE "/" "_" target "${name}")
    add_executable(${target} "${source}")
    dyn_include_root(root tests core proto models limits bus edge router actors/providers actors/plugins actors/metrics actors/ledger mock gateway cli tests include)
    target_include_directories(${target} PRIVATE "${root}")
    target_link_libraries(${target} PRIVATE dynabus_gateway dynabus_warnings ${CMOCKA_LIBRARY})
    target_compile_definitions(${target} PRIVATE DYNABUS_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                               DYNABUS_BINARY_DIR="${CMAKE_BINARY_DIR}")
    add_test(NAME ${name} COMMAND ${target} ${T_ARGS})
    set_tests_properties(${name} PROPERTIES LABELS "${T_LABEL}" TIMEOUT 120)
endfunction()

# Every test_*.c below a folder becomes a test.
function(dyn_tests_in folder label)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}"
         "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/test_*.c")
    foreach(source IN LISTS sources)
        string(REGEX REPLACE "\\.c$" "" name "${source}")
        dyn_test("${name}" "${CMAKE_CURRENT_SOURCE_DIR}/${source}" LABEL ${label})
    endforeach()
endfunction()

# Every fuzz_*.c: a libFuzzer program with DYNABUS_FUZZ, else a test that replays the committed seeds.
function(dyn_fuzz_targets folder)
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/fuzz_*.c")
    dyn_include_root(root tests core proto models limits bus edge router actors/providers actors/plugins actors/metrics actors/ledger mock gateway tests include)
    foreach(source IN LISTS sources)
        get_filename_component(name "${source}" NAME_WE)
        if(DYNABUS_FUZZ)
            add_executable(${name} "${source}")
            target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
            target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        else()
            add_executable(${name} "${source}" "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/replay.c")
            add_test(NAME fuzz/${name} COMMAND ${name} "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/seeds/${name}")
            set_tests_properties(fuzz/${name} PROPERTIES LABELS unit TIMEOUT 120)
        endif()
        target_include_directories(${name} PRIVATE "${root}")
        target_link_libraries(${name} PRIVATE dynabus_gateway dynabus_warnings)
    endforeach()
endfunction()

# A pytest file as one test. Its libraries live in build/venv, which ./dev test makes.
# dyn_pytest(<ctest name> <file> LABELS <label>... [ENVIRONMENT <NAME=value>...])
set(DYNABUS_VENV "${CMAKE_SOURCE_DIR}/build/venv" CACHE PATH "Python environment of the tests")
function(dyn_pytest name file)
    cmake_parse_arguments(T "" "" "LABELS;ENVIRONMENT" ${ARGN})
    add_test(NAME ${name}
             COMMAND "${DYNABUS_VENV}/bin/python" -m pytest -q -p harness.fixtures -p no:cacheprovider "${file}")
    set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT 300
        ENVIRONMENT "PYTHONPATH=${CMAKE_SOURCE_DIR}/tests;PYTHONDONTWRITEBYTECODE=1;DYNABUS_BINARY=$<TARGET_FILE:dynabus>;${T_ENVIRONMENT}")
endfunction()
