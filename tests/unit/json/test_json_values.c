/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "common/json/json.h"

#include <locale.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Into another buffer, in place, and compared without a buffer. */
static void strings_are_decoded(void **state)
{
    static const struct {
        const char *text, *decoded;
    } cases[] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e4\\u20ac\\ud83d\\ude00z\"", "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z"},
        {"\"\\uD7FF\\uE000\\uDBFF\\uDFFF\"", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"},
        {"\"\xc3\xa4\\\\\xf0\x9f\x98\x80\"", "\xc3\xa4\\\xf0\x9f\x98\x80"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[80], buffer[80];
        struct mglu_json json;

        strcpy(text, cases[i].text);
        mglu_json_begin(&json, text, strlen(text));
        assert_int_equal(mglu_json_next(&json), MGLU_JSON_STRING);
        assert_int_equal(mglu_json_decode(&json, buffer), strlen(cases[i].decoded));
        assert_string_equal(buffer, cases[i].decoded);
        assert_true(mglu_json_equals(&json, cases[i].decoded));
        strcat(buffer, "x");
        assert_false(mglu_json_equals(&json, buffer));
        buffer[strlen(buffer) - 1] = '\0';
        if (*buffer)
            buffer[strlen(buffer) - 1] = '\0';
        assert_int_equal(mglu_json_equals(&json, buffer), cases[i].decoded[0] == '\0');
        mglu_json_decode(&json, (char *)(uintptr_t)json.first);
        assert_string_equal(text + 1, cases[i].decoded);
    }
}

static struct mglu_json read_one(const char *text)
{
    struct mglu_json json;

    mglu_json_begin(&json, text, strlen(text));
    mglu_json_next(&json);
    return json;
}

static void integers_are_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        int integer, fits;
        uint64_t value;
    } cases[] = {
        {"0", 1, 1, 0},
        {"9007199254740993", 1, 1, 9007199254740993},
        {"18446744073709551615", 1, 1, UINT64_MAX},
        {"18446744073709551616", 1, 0, 0},
        {"100000000000000000000000", 1, 0, 0},
        {"-1", 1, 0, 0},
        {"-0", 1, 0, 0},
        {"1.0", 0, 0, 0},
        {"1e0", 0, 0, 0},
        {"\"1\"", 0, 0, 0},
        {"true", 0, 0, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mglu_json json = read_one(cases[i].text);
        uint64_t value = 0;

        if (mglu_json_is_integer(&json) != cases[i].integer || mglu_json_uint64(&json, &value) != cases[i].fits ||
            value != cases[i].value)
            fail_msg("%s: %llu", cases[i].text, (unsigned long long)value);
    }
}

static void reals_are_rounded_to_nearest_in_any_locale(void **state)
{
    static const struct {
        const char *text;
        int fits;
        double value;
    } cases[] = {
        {"0", 1, 0},
        {"-0.0", 1, -0.0},
        {"0.1", 1, 0.1},
        {"-12.5e+3", 1, -12500},
        {"9007199254740993", 1, 0x1p53},
        {"9007199254740993.0000000000000000000000000000000000000001", 1, 0x1p53 + 2},
        {"2.4703282292062327e-324", 1, 0},
        {"2.4703282292062328e-324", 1, 0x1p-1074},
        {"1.7976931348623158e308", 1, 0x1.fffffffffffffp1023},
        {"1.7976931348623159e308", 0, 0},
        {"1e999", 0, 0},
        {"1e-999", 1, 0},
        {"\"1\"", 0, 0},
    };
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"};

    for (size_t l = 0; l < COUNT(locales); l++) {
        setlocale(LC_ALL, locales[l]); /* where it is not installed, nothing changes */
        for (size_t i = 0; i < COUNT(cases); i++) {
            struct mglu_json json = read_one(cases[i].text);
            double value = -1;
            int fits = mglu_json_double(&json, &value);

            if (fits != cases[i].fits || (fits && memcmp(&value, &cases[i].value, sizeof value) != 0))
                fail_msg("%s: %d, %.17g", cases[i].text, fits, value);
        }
    }
    setlocale(LC_ALL, "C");
}

static void a_number_of_more_than_a_thousand_characters_is_no_double(void **state)
{
    char text[1002] = "";
    double value;

    memset(text, '7', 1001);
    assert_false(
        mglu_json_double(&(struct mglu_json){.token = MGLU_JSON_NUMBER, .first = text, .length = 1001}, &value));
    memset(text + 1, '0', 999);
    text[1] = '.';
    assert_true(
        mglu_json_double(&(struct mglu_json){.token = MGLU_JSON_NUMBER, .first = text, .length = 1000}, &value));
    assert_true(value == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(integers_are_exact_or_refused),
        cmocka_unit_test(reals_are_rounded_to_nearest_in_any_locale),
        cmocka_unit_test(a_number_of_more_than_a_thousand_characters_is_no_double),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
