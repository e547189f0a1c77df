#include <stdio.h>

int
main(void)
{
    (void)puts("dynabus");
    return 0;
}
