/* SPDX-License-Identifier: MIT */
#include <mglu/mglu.h>

#include <unistd.h>

/* Exits with the status of a context; 77 in a program that has no more rights than its user. */
int main(void)
{
    mglu_context *context;
    mglu_status status = mglu_context_create(NULL, &context);

    if (status == MGLU_OK)
        mglu_context_destroy(&context);
    return status == MGLU_OK && getuid() == geteuid() ? 77 : (int)status;
}
