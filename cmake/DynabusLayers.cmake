# Layering. Every folder is a library whose include path holds links to exactly the folders that it
# may use, so an upward or sideways include does not find its file. (A relative "../" include would
# get round this; tests/lint refuses those.)

set(DYNABUS_LAYER_ROOT "${CMAKE_BINARY_DIR}/layers")

function(dyn_include_root out name)
    set(root "${DYNABUS_LAYER_ROOT}/${name}")
    foreach(folder IN LISTS ARGN)
        get_filename_component(parent "${root}/${folder}" DIRECTORY)
        file(MAKE_DIRECTORY "${parent}")
        if(folder STREQUAL "include")
            file(CREATE_LINK "${CMAKE_SOURCE_DIR}/include/dynabus.h" "${root}/dynabus.h" SYMBOLIC)
        else()
            file(CREATE_LINK "${CMAKE_SOURCE_DIR}/${folder}" "${root}/${folder}" SYMBOLIC)
        endif()
    endforeach()
    set(${out} "${root}" PARENT_SCOPE)
endfunction()

# Declares the layer; the folder's CMakeLists.txt calls dyn_layer_sources().
function(dyn_layer name folder may_include)
    add_library(dynabus_${name} STATIC)
    dyn_include_root(root ${name} ${may_include})
    target_include_directories(dynabus_${name} PRIVATE "${root}")
    target_link_libraries(dynabus_${name} PUBLIC ${ARGN})
endfunction()

# All .c files of the folder (and of the named subfolders); a new file is picked up by the next build.
function(dyn_layer_sources name)
    set(patterns "*.c")
    foreach(sub IN LISTS ARGN)
        list(APPEND patterns "${sub}/*.c")
    endforeach()
    file(GLOB sources CONFIGURE_DEPENDS ${patterns})
    if(NOT sources) # a folder whose first file is still to come
        file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/empty.c" "typedef int dyn_empty_translation_unit;\n")
        set(sources "${CMAKE_CURRENT_BINARY_DIR}/empty.c")
    endif()
    target_sources(dynabus_${name} PRIVATE ${sources})
    target_link_libraries(dynabus_${name} PRIVATE dynabus_warnings)
endfunction()
