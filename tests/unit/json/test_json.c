/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "common/json/json.h"

#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A text and its size, which may contain NUL. */
#define TEXT(text) (text), sizeof(text) - 1

/* Reads all tokens from a copy without anything behind it, so that sanitizers see a read too far. */
static struct mglu_json read_all(const char *text, size_t size)
{
    char *copy = malloc(size ? size : 1);
    struct mglu_json json;

    assert_non_null(copy);
    memcpy(copy, text, size);
    mglu_json_begin(&json, copy, size);
    while (mglu_json_next(&json) > MGLU_JSON_END)
        continue;
    json.length = mglu_json_offset(&json); /* the text is freed */
    free(copy);
    return json;
}

static const struct {
    const char *text;
    size_t size;
} valid[] = {
    {TEXT("0")},
    {TEXT("-0")},
    {TEXT(" \t\r\n1 \t\r\n")},
    {TEXT("-12.5e+3")},
    {TEXT("1E-2")},
    {TEXT("0e0")},
    {TEXT("123456789012345678901234567890.5")},
    {TEXT("1e999")},
    {TEXT("true")},
    {TEXT("false")},
    {TEXT("null")},
    {TEXT("\"\"")},
    {TEXT("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"")},
    {TEXT("\"\\u0001\\u00e4\\u20AC\\ud83d\\uDE00\\uffff\"")},
    {TEXT("\"\x7f \xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"")},
    {TEXT("[]")},
    {TEXT("{}")},
    {TEXT("[ ]")},
    {TEXT("{ }")},
    {TEXT("[1 , [2,[]] , {} ,\"x\"]")},
    {TEXT("{\"a\":1,\"b\" : {\"c\":[true,false,null]} , \"\":\"\"}")},
    {TEXT("{\"a\":1,\"a\":2}")},
};

static const struct {
    const char *text;
    size_t size;
    size_t offset; /* of the fault */
    const char *fault;
} invalid[] = {
    {TEXT(""), 0, "expected a value"},
    {TEXT(" "), 1, "expected a value"},
    {TEXT("\xef\xbb\xbf{}"), 0, "expected a value"},
    {TEXT("\0"), 0, "expected a value"},
    {TEXT("nul"), 0, "expected a value"},
    {TEXT("nullx"), 4, "text after the end"},
    {TEXT("True"), 0, "expected a value"},
    {TEXT("NaN"), 0, "expected a value"},
    {TEXT("Infinity"), 0, "expected a value"},
    {TEXT("-Infinity"), 0, "expected a number"},
    {TEXT("+1"), 0, "expected a value"},
    {TEXT("01"), 0, "expected a number"},
    {TEXT("-01"), 0, "expected a number"},
    {TEXT("-"), 0, "expected a number"},
    {TEXT("1."), 0, "expected a number"},
    {TEXT(".5"), 0, "expected a value"},
    {TEXT("1.e3"), 0, "expected a number"},
    {TEXT("1e"), 0, "expected a number"},
    {TEXT("1e+"), 0, "expected a number"},
    {TEXT("0x10"), 1, "text after the end"},
    {TEXT("1_000"), 1, "text after the end"},
    {TEXT("1 2"), 2, "text after the end"},
    {TEXT("{}{}"), 2, "text after the end"},
    {TEXT("{}\0"), 2, "text after the end"},
    {TEXT("// x\n1"), 0, "expected a value"},
    {TEXT("'a'"), 0, "expected a value"},
    {TEXT("\""), 0, "string has no end"},
    {TEXT("\"abc"), 0, "string has no end"},
    {TEXT("\"a\\"), 2, "string has no end"},
    {TEXT("\"a\\\""), 0, "string has no end"},
    {TEXT("\"\\x41\""), 1, "unknown escape"},
    {TEXT("\"\\\0\""), 1, "unknown escape"},
    {TEXT("\"\\u12\""), 1, "\\u needs four hexadecimal digits"},
    {TEXT("\"\\u12g4\""), 1, "\\u needs four hexadecimal digits"},
    {TEXT("\"\\u+123\""), 1, "\\u needs four hexadecimal digits"},
    {TEXT("\"\\U0041\""), 1, "unknown escape"},
    {TEXT("\"\\u0000\""), 1, "\\u0000 is not allowed"},
    {TEXT("\"\\ud800\""), 1, "half of a surrogate pair"},
    {TEXT("\"\\ud800x\""), 1, "half of a surrogate pair"},
    {TEXT("\"\\ud800\\n\""), 1, "half of a surrogate pair"},
    {TEXT("\"\\ud800\\ud800\""), 1, "half of a surrogate pair"},
    {TEXT("\"\\udc00\\ud800\""), 1, "half of a surrogate pair"},
    {TEXT("\"\\udfff\""), 1, "half of a surrogate pair"},
    {TEXT("\"a\tb\""), 2, "control character"},
    {TEXT("\"a\nb\""), 2, "control character"},
    {TEXT("\"\0\""), 1, "control character"},
    {TEXT("\"\x80\""), 1, "not UTF-8"},
    {TEXT("\"\xc0\x80\""), 1, "not UTF-8"},
    {TEXT("\"\xc1\xbf\""), 1, "not UTF-8"},
    {TEXT("\"\xc3\""), 1, "not UTF-8"},
    {TEXT("\"\xe0\x9f\xbf\""), 1, "not UTF-8"},
    {TEXT("\"\xe2\x82\""), 1, "not UTF-8"},
    {TEXT("\"\xed\xa0\x80\""), 1, "not UTF-8"},
    {TEXT("\"\xf0\x8f\xbf\xbf\""), 1, "not UTF-8"},
    {TEXT("\"\xf4\x90\x80\x80\""), 1, "not UTF-8"},
    {TEXT("\"\xf5\x80\x80\x80\""), 1, "not UTF-8"},
    {TEXT("\"\xff\""), 1, "not UTF-8"},
    {TEXT("["), 1, "expected a value"},
    {TEXT("[1"), 2, "expected ',' or ']'"},
    {TEXT("[1,"), 3, "expected a value"},
    {TEXT("[1,]"), 3, "expected a value"},
    {TEXT("[,1]"), 1, "expected a value"},
    {TEXT("[1,,2]"), 3, "expected a value"},
    {TEXT("[1 2]"), 3, "expected ',' or ']'"},
    {TEXT("[1}"), 2, "expected ',' or ']'"},
    {TEXT("]"), 0, "expected a value"},
    {TEXT("{"), 1, "expected a string"},
    {TEXT("{1:2}"), 1, "expected a string"},
    {TEXT("{a:2}"), 1, "expected a string"},
    {TEXT("{\"a\"}"), 4, "expected ':'"},
    {TEXT("{\"a\" 1}"), 5, "expected ':'"},
    {TEXT("{\"a\":}"), 5, "expected a value"},
    {TEXT("{\"a\":1,}"), 7, "expected a string"},
    {TEXT("{,}"), 1, "expected a string"},
    {TEXT("{\"a\":1]"), 6, "expected ',' or '}'"},
    {TEXT("{\"a\":1 \"b\":2}"), 7, "expected ',' or '}'"},
    {TEXT("}"), 0, "expected a value"},
};

static void valid_texts_are_read_to_their_end(void **state)
{
    for (size_t i = 0; i < COUNT(valid); i++) {
        struct mglu_json json = read_all(valid[i].text, valid[i].size);

        if (json.token != MGLU_JSON_END)
            fail_msg("%s: byte %zu: %s", valid[i].text, json.length, json.fault);
    }
}

static void every_fault_has_its_place_and_reason(void **state)
{
    for (size_t i = 0; i < COUNT(invalid); i++) {
        struct mglu_json json = read_all(invalid[i].text, invalid[i].size);

        if (json.token != MGLU_JSON_FAULT || json.length != invalid[i].offset || !strstr(json.fault, invalid[i].fault))
            fail_msg("%s: byte %zu: %s, expected byte %zu: %s", invalid[i].text, json.length,
                     json.fault ? json.fault : "no fault", invalid[i].offset, invalid[i].fault);
    }
}

/* Only a number may be shorter and still be a text; a fault has its place within the prefix. */
static void every_prefix_of_a_text_is_a_fault_or_a_number(void **state)
{
    for (size_t i = 0; i < COUNT(valid); i++)
        for (size_t size = 0; size < valid[i].size; size++) {
            struct mglu_json json = read_all(valid[i].text, size);
            char last = size ? valid[i].text[size - 1] : 0;
            int scalar = !strchr("\"[{", valid[i].text[0]);

            if (json.token == MGLU_JSON_FAULT ? json.length > size : !(scalar && strchr("0123456789 \t\r\n", last)))
                fail_msg("%zu bytes of %s", size, valid[i].text);
        }
}

static void a_fault_stays(void **state)
{
    struct mglu_json json;

    mglu_json_begin(&json, "[1,x,2]", 7);
    while (mglu_json_next(&json) > MGLU_JSON_END)
        continue;
    assert_int_equal(mglu_json_offset(&json), 3);
    assert_int_equal(mglu_json_next(&json), MGLU_JSON_FAULT);
    assert_int_equal(mglu_json_skip(&json), 0);
    assert_int_equal(mglu_json_offset(&json), 3);
}

static void tokens_come_in_the_order_of_the_text(void **state)
{
    static const char text[] = "{\"k\":[1,\"s\",{}],\"l\":{\"m\":null},\"n\":true,\"o\":false}";
    static const enum mglu_json_token tokens[] = {
        MGLU_JSON_OBJECT, MGLU_JSON_KEY,        MGLU_JSON_ARRAY,      MGLU_JSON_NUMBER, MGLU_JSON_STRING,
        MGLU_JSON_OBJECT, MGLU_JSON_OBJECT_END, MGLU_JSON_ARRAY_END,  MGLU_JSON_KEY,    MGLU_JSON_OBJECT,
        MGLU_JSON_KEY,    MGLU_JSON_NULL,       MGLU_JSON_OBJECT_END, MGLU_JSON_KEY,    MGLU_JSON_TRUE,
        MGLU_JSON_KEY,    MGLU_JSON_FALSE,      MGLU_JSON_OBJECT_END, MGLU_JSON_END,    MGLU_JSON_END,
    };
    struct mglu_json json;

    mglu_json_begin(&json, text, sizeof text - 1);
    for (size_t i = 0; i < COUNT(tokens); i++)
        if (mglu_json_next(&json) != tokens[i])
            fail_msg("token %zu is %d, expected %d", i, (int)json.token, (int)tokens[i]);
}

static void numbers_that_are_not_finite_are_read_where_permitted(void **state)
{
    static const char text[] = "[NaN,Infinity,-Infinity,-1]";
    static const char *const wrong[] = {"Nan", "-NaN", "Inf", "-Inf", "-", "N", "infinity", "+Infinity"};
    struct mglu_json json;

    mglu_json_begin(&json, text, sizeof text - 1);
    json.nonfinite = 1;
    assert_int_equal(mglu_json_next(&json), MGLU_JSON_ARRAY);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(mglu_json_next(&json), MGLU_JSON_NONFINITE);
    assert_int_equal(mglu_json_next(&json), MGLU_JSON_NUMBER);
    assert_int_equal(mglu_json_next(&json), MGLU_JSON_ARRAY_END);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        mglu_json_begin(&json, wrong[i], strlen(wrong[i]));
        json.nonfinite = 1;
        if (mglu_json_next(&json) != MGLU_JSON_FAULT)
            fail_msg("%s was read", wrong[i]);
    }
}

static void values_can_be_skipped(void **state)
{
    static const char text[] = "[[1,{\"a\":[]}],\"s\",{\"k\":[[],{}]},2]";
    struct mglu_json json;

    mglu_json_begin(&json, text, sizeof text - 1);
    assert_int_equal(mglu_json_next(&json), MGLU_JSON_ARRAY);
    for (size_t i = 0; i < 4; i++) {
        mglu_json_next(&json);
        assert_int_equal(mglu_json_depth(&json), i % 2 ? 1 : 2);
        assert_int_equal(mglu_json_skip(&json), 1);
        assert_int_equal(mglu_json_depth(&json), 1);
    }
    assert_int_equal(json.token, MGLU_JSON_NUMBER);
    assert_int_equal(mglu_json_next(&json), MGLU_JSON_ARRAY_END);
    assert_int_equal(mglu_json_depth(&json), 0);
}

static void nesting_is_limited(void **state)
{
    char text[2 * MGLU_JSON_MAX_DEPTH + 2];

    for (size_t deeper = 0; deeper < 2; deeper++) {
        size_t depth = MGLU_JSON_MAX_DEPTH + deeper;

        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(read_all(text, 2 * depth).token, deeper ? MGLU_JSON_FAULT : MGLU_JSON_END);
    }
    assert_string_equal(read_all(text, sizeof text).fault, "nested too deep");
    assert_int_equal(read_all(text, sizeof text).length, MGLU_JSON_MAX_DEPTH);
}

static void faults_have_a_line_and_a_column(void **state)
{
    static const char text[] = "{\n  \"a\": 1,\n  \"b\": x\n}";
    struct mglu_json json;
    size_t line, column;

    mglu_json_begin(&json, text, sizeof text - 1);
    while (mglu_json_next(&json) > MGLU_JSON_END)
        continue;
    mglu_json_place(&json, &line, &column);
    assert_int_equal(line, 3);
    assert_int_equal(column, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts_are_read_to_their_end),
        cmocka_unit_test(every_fault_has_its_place_and_reason),
        cmocka_unit_test(every_prefix_of_a_text_is_a_fault_or_a_number),
        cmocka_unit_test(a_fault_stays),
        cmocka_unit_test(tokens_come_in_the_order_of_the_text),
        cmocka_unit_test(numbers_that_are_not_finite_are_read_where_permitted),
        cmocka_unit_test(values_can_be_skipped),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(faults_have_a_line_and_a_column),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
