/* SPDX-License-Identifier: MIT */
#ifndef MGLU_EXPORT_H
#define MGLU_EXPORT_H

/** Marks a symbol of the library's interface; everything else is hidden. */
#if defined(__GNUC__)
#define MGLU_API        __attribute__((visibility("default")))
#define MGLU_MUST_CHECK __attribute__((warn_unused_result))
#else
#define MGLU_API
#define MGLU_MUST_CHECK
#endif

#ifdef __cplusplus
#define MGLU_BEGIN_DECLS extern "C" {
#define MGLU_END_DECLS   }
#else
#define MGLU_BEGIN_DECLS
#define MGLU_END_DECLS
#endif

#endif
