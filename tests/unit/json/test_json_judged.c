/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"
#include "tests/unit/json/judge.h"

#include <stdio.h>
#include <stdlib.h>

/* Random texts are read by jansson as well: both accept the same texts, and find the same values in them. */

enum { TEXTS = 200000, MOST = 200 };

static uint64_t random_state = 1;

static unsigned random_below(unsigned limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((random_state >> 33) % limit);
}

static const char *const seeds[] = {
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[4,5],\"data_offsets\":[0,80]},\"__metadata__\":{\"format\":\"pt\"}}",
    "[1,-2,3.25,-4e5,6E-7,0,-0,0.0,1e22,12345678901234567]",
    "[\"\\u00e4\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\",\"\"]",
    "[true,false,null,[],{},[[[]]],{\"\":{\"b\":[]}}]",
    " { \"hidden_size\" : 128 ,\n \"rms_norm_eps\" : 1e-05 ,\t\"tied\" : true }\r\n",
};

/* Inserts, removes or replaces some characters of a seed. */
static size_t make_text(char text[MOST + 4])
{
    static const char pieces[] = "{}[]\",:\\u0dDeE+-.19tfn \n\t\x01\x80\xc3\xa4\xed\xff/'";
    size_t length;

    strcpy(text, seeds[random_below(sizeof seeds / sizeof seeds[0])]);
    length = strlen(text);
    for (unsigned edits = random_below(4); edits > 0; edits--) {
        size_t at = random_below((unsigned)length);
        char piece = pieces[random_below(sizeof pieces - 1)];

        switch (random_below(3)) {
        case 0:
            text[at] = piece;
            break;
        case 1:
            memmove(text + at, text + at + 1, length-- - at);
            break;
        default:
            memmove(text + at + 1, text + at, ++length - at);
            text[at] = piece;
        }
    }
    return length;
}

static void random_texts_are_read_as_jansson_reads_them(void **state)
{
    size_t accepted = 0;

    for (size_t i = 0; i < TEXTS; i++) {
        char text[MOST + 4];
        size_t length = make_text(text);
        json_error_t error;
        json_t *wanted = json_loadb(text, length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
        struct mglu_json json;

        /* What it limits for reasons of its own. */
        if (!wanted && (json_error_code(&error) == json_error_numeric_overflow ||
                        json_error_code(&error) == json_error_duplicate_key))
            continue;
        if (judge_is_read(text, length) != (wanted != NULL))
            fail_msg("text %zu: %s: jansson says '%s'", i, text, wanted ? "valid" : error.text);
        accepted += wanted != NULL;
        mglu_json_begin(&json, text, length);
        mglu_json_next(&json);
        if (wanted && !judge_same_value(&json, wanted))
            fail_msg("text %zu: %s: another value", i, text);
        json_decref(wanted);
    }
    assert_in_range(accepted, TEXTS / 8, TEXTS * 7 / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_texts_are_read_as_jansson_reads_them)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
