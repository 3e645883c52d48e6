/* SPDX-License-Identifier: MIT */
#include "run/runner.h"

/* Writes a text as XML: special characters are escaped, characters that XML can't represent become question marks. */
static void write_text(FILE *file, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '&')
            fputs("&amp;", file);
        else if (c == '<')
            fputs("&lt;", file);
        else if (c == '>')
            fputs("&gt;", file);
        else if (c == '"')
            fputs("&quot;", file);
        else if (c == '\n')
            fputs("&#10;", file);
        else
            fputc(c < 0x20 || c >= 0x7f ? '?' : c, file);
    }
}

static void write_attribute(FILE *file, const char *name, const char *value)
{
    fprintf(file, " %s=\"", name);
    write_text(file, value);
    fputc('"', file);
}

static void write_case(FILE *file, const struct device_report *report, const struct result *result)
{
    static const char *const elements[VERDICTS] = {NULL, "failure", "failure", "skipped"};
    const char *element = elements[result->verdict];

    fputs("    <testcase", file);
    write_attribute(file, "classname", report->target.info.backend);
    write_attribute(file, "name", result->name);
    if (!element) {
        fputs("/>\n", file);
        return;
    }
    fprintf(file, ">\n      <%s", element);
    write_attribute(file, "message", result->text ? result->text : verdict_name(result->verdict));
    fputs("/>\n    </testcase>\n", file);
}

static void write_suite(FILE *file, const struct device_report *report)
{
    fputs("  <testsuite", file);
    write_attribute(file, "name", report->target.info.backend);
    write_attribute(file, "hostname", report->target.info.name);
    fprintf(file, " tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\">\n", report->result_count,
            report->counts[VERDICT_FAIL] + report->counts[VERDICT_VACUOUS], report->counts[VERDICT_UNSUPPORTED]);
    for (size_t i = 0; i < report->result_count; i++)
        write_case(file, report, &report->results[i]);
    fputs("  </testsuite>\n", file);
}

bool write_junit(const char *path, const struct device_report *reports, size_t count)
{
    FILE *file = fopen(path, "w");
    bool failed;

    if (!file) {
        fprintf(stderr, "mglu-conformance: %s: the report could not be written\n", path);
        return false;
    }
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"mglu-conformance\">\n", file);
    for (size_t i = 0; i < count; i++)
        write_suite(file, &reports[i]);
    fputs("</testsuites>\n", file);
    failed = ferror(file);
    failed |= fclose(file) != 0;
    if (failed)
        fprintf(stderr, "mglu-conformance: %s: the report could not be written\n", path);
    return !failed;
}
