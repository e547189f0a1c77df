# What `cmake --install` brings: the binary, libdynabus as a shared library that exports dynabus_* alone, its one
# header, its pkg-config file, man page and systemd unit. The binary itself links our code statically.
set(DYNABUS_SOVERSION 0)

file(WRITE "${CMAKE_BINARY_DIR}/shared.c" "typedef int dyn_empty_translation_unit;\n")
add_library(dynabus_shared SHARED "${CMAKE_BINARY_DIR}/shared.c")
set_target_properties(dynabus_shared PROPERTIES OUTPUT_NAME dynabus VERSION ${PROJECT_VERSION}
                      SOVERSION ${DYNABUS_SOVERSION})
target_link_libraries(dynabus_shared PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,dynabus_gateway>")

configure_file("${CMAKE_SOURCE_DIR}/cmake/dynabus.pc.in" "${CMAKE_BINARY_DIR}/dynabus.pc" @ONLY)

install(TARGETS dynabus_shared LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES "${CMAKE_SOURCE_DIR}/include/dynabus.h" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${CMAKE_BINARY_DIR}/dynabus.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
install(FILES "${CMAKE_SOURCE_DIR}/deploy/man/dynabus.1" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES "${CMAKE_SOURCE_DIR}/deploy/systemd/dynabus.service" DESTINATION lib/systemd/system)
install(FILES "${CMAKE_SOURCE_DIR}/LICENSE" "${CMAKE_SOURCE_DIR}/NOTICE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
