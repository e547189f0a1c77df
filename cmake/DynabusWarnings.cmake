# Warnings, hardening and sanitizers, on one interface target that every library of ours links.
add_library(dynabus_warnings INTERFACE)

set(DYNABUS_WARNING_FLAGS
    -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
    -Wundef -Wvla -Wformat=2 -Wcast-qual -Wwrite-strings -Wswitch-enum -Wimplicit-fallthrough
    -Wnull-dereference -Wdouble-promotion -Wpointer-arith -Wconversion -Wsign-conversion)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND DYNABUS_WARNING_FLAGS -Wduplicated-cond -Wduplicated-branches -Wlogical-op
         -Wjump-misses-init -Wcast-align=strict -Wformat-truncation=1)
endif()
if(DYNABUS_WERROR)
    list(APPEND DYNABUS_WARNING_FLAGS -Werror)
endif()
target_compile_options(dynabus_warnings INTERFACE ${DYNABUS_WARNING_FLAGS} -fno-common)

if(DYNABUS_SANITIZE)
    # Global: a sanitizer has to see every object, tests included.
    add_compile_options(-fsanitize=${DYNABUS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    add_link_options(-fsanitize=${DYNABUS_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    add_compile_options(-fstack-protector-strong -fstack-clash-protection -g1)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64")
        add_compile_options(-fcf-protection)
    endif()
    add_compile_definitions(_FORTIFY_SOURCE=2)
    add_link_options(-Wl,-z,relro,-z,now)
endif()
