/* SPDX-License-Identifier: MIT */
#ifndef MGLU_EXPORT_H
#define MGLU_EXPORT_H

#include <stdint.h>

/** Marks a symbol of the library's interface; everything else is hidden. */
#if defined(__GNUC__)
#define MGLU_API        __attribute__((visibility("default")))
#define MGLU_MUST_CHECK __attribute__((warn_unused_result))
#else
#define MGLU_API
#define MGLU_MUST_CHECK
#endif

/**
 * The name of an enum in its definition. Enums are parts of structs that cross the interface, so that their size must
 * not depend on -fshort-enums or on the compiler: it is fixed where the language or the compiler can, else checked.
 */
#if (defined(__cplusplus) && __cplusplus >= 201103L) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)
#define MGLU_32_BITS      : int32_t
#define MGLU_ENUM32(name) name MGLU_32_BITS
#elif defined(__GNUC__)
#define MGLU_ENUM32(name) __attribute__((mode(SI))) name
#else
#define MGLU_ENUM32(name) name
#endif

#ifdef __cplusplus
#define MGLU_BEGIN_DECLS extern "C" {
#define MGLU_END_DECLS   }
#else
#define MGLU_BEGIN_DECLS
#define MGLU_END_DECLS
#endif

/**
 * MGLU_INIT: a struct whose struct_size is set and whose other members are zero, for the MGLU_..._INIT macros. It
 * initialises a variable, and can be assigned and passed. ISO C has no such value for a static variable: write
 * {.struct_size = sizeof(type)} there. MGLU_CAST: a conversion of pointers in the inline functions of these headers.
 */
/* clang-format off */
#ifdef __cplusplus
#define MGLU_INIT(type) \
    []() -> type { type mglu_made = type(); mglu_made.struct_size = sizeof(type); return mglu_made; }()
#define MGLU_CAST(type, value) reinterpret_cast<type>(value)
#else
#define MGLU_INIT(type) (type){.struct_size = sizeof(type)}
#define MGLU_CAST(type, value) ((type)(value))
#endif
/* clang-format on */

#endif
