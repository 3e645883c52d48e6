/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMANDS_H
#define MGLU_TOOLS_COMMANDS_H

/**
 * @file
 * The commands. Each gets its own arguments, argv[0] being "mglu run" and so on, and returns the exit status.
 */

int command_devices(int argc, char **argv);
int command_pack(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_run(int argc, char **argv);
int command_perplexity(int argc, char **argv);
int command_generate(int argc, char **argv);

#endif
