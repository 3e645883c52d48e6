/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "tools/common/arguments.h"
#include "tools/common/report.h"

#include <mglu/mglu.h>

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int command_help(int argc, char **argv);

static struct command {
    const char *name;
    char title[20]; /**< its name in errors and help; writable, since it goes into argv */
    int (*main)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"devices", "mglu devices", command_devices, "list available devices, and why others are not"},
    {"pack", "mglu pack", command_pack, "convert a training checkpoint to the packed format"},
    {"inspect", "mglu inspect", command_inspect, "show the layers of a file and their size relative to a GLU"},
    {"run", "mglu run", command_run, "compute one layer on activations from a file"},
    {"perplexity", "mglu perplexity", command_perplexity, "measure a language model on a text"},
    {"generate", "mglu generate", command_generate, "continue a text with a language model"},
    {"help", "mglu help", command_help, "show the options of a command"},
};

/** The command that the arguments name, and where in argv. */
struct selection {
    struct command *command;
    int index;
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static struct command *find_command(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_version(FILE *stream, struct argp_state *state)
{
    fprintf(stream, "mglu %s (%s)\n", mglu_version(), mglu_build_info());
}

/** Adds the list of commands to the help text. */
static char *help_filter(int key, const char *text, void *input)
{
    if (key != ARGP_KEY_HELP_PRE_DOC)
        return (char *)text;
    char *list = NULL;
    size_t size;
    FILE *stream = open_memstream(&list, &size);
    if (!stream)
        return (char *)text;
    fprintf(stream, "%s\n\nCommands:\n", text);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(stream, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fclose(stream);
    return list;
}

static void refuse_command(struct argp_state *state, const char *name)
{
    char known[256] = "";
    for (int i = 0; i < COMMAND_COUNT; i++)
        strcat(strcat(known, i ? ", " : ""), commands[i].name);
    argp_error(state, "%s: unknown command; the commands are %s", name, known);
}

/** Stops at the first operand: the rest are arguments of the command. */
static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct selection *selection = state->input;
    if (key == ARGP_KEY_NO_ARGS) {
        argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
        return 0;
    }
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    selection->command = find_command(argument);
    if (!selection->command)
        refuse_command(state, argument);
    selection->index = state->next - 1;
    state->next = state->argc;
    return 0;
}

/** Runs the command that the arguments name. */
static int run_command(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "COMMAND ...",
        .doc = "Masked gated linear units, packed and computed on any device.",
        .help_filter = help_filter,
    };
    struct selection selection = {0};
    if (!arguments_parse(&argp, argc, argv, ARGP_IN_ORDER, &selection) || !selection.command)
        return EXIT_FAILED;
    argv[selection.index] = selection.command->title;
    report_command(selection.command->title);
    return selection.command->main(argc - selection.index, argv + selection.index);
}

static error_t parse_help(int key, char *argument, struct argp_state *state)
{
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    arguments_operand(state, argument, (char **const[]){state->input}, 1);
    return 0;
}

/** "mglu help run" is "mglu run --help", and "mglu help" is "mglu --help". */
static int command_help(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse_help,
        .args_doc = "[COMMAND]",
        .doc = "Shows the options of a command; without one, the list of commands.",
    };
    static char program[] = "mglu", option[] = "--help";
    char *name = NULL;
    if (!arguments_parse(&argp, argc, argv, 0, &name))
        return EXIT_FAILED;
    char *words[] = {program, name ? name : option, name ? option : NULL, NULL};
    return run_command(name ? 3 : 2, words);
}

int main(int argc, char **argv)
{
    static char name[] = "mglu";
    /* A write to a closed pipe, or beyond the limit of a file's size, fails as any other write does. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    report_check_stdout();
    argp_err_exit_status = EXIT_USAGE;
    /* Wide enough that "Try `mglu perplexity --help' ..." stays on one line. */
    setenv("ARGP_HELP_FMT", "rmargin=100", 0);
    argp_program_version_hook = print_version;
    if (argc > 0)
        argv[0] = name;
    return run_command(argc, argv);
}
