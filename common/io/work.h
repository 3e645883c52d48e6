/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_WORK_H
#define MGLU_IO_WORK_H

#include <mglu/io.h>

/*
 * Making the tensors of an output in pieces, on the threads that the caller gives. A piece is some rows of a tensor,
 * whatever its maker takes for a row: about MGLU_IO_PIECE bytes, or one row where that is more.
 */

/* Small enough for the caches of one core, together with what is made of it. */
enum { MGLU_IO_PIECE = 256 << 10 };

struct mglu_io_piece {
    size_t tensor;
    int64_t first, rows;
};

/* How one tensor is divided. */
struct mglu_io_division {
    int64_t rows;    /* 0: nothing to do */
    int64_t at_once; /* at most, in one piece */
    int64_t block;   /* no piece has rows of two blocks of so many */
    size_t bytes;    /* written for each row */
};

/* Memory of one piece at a time; one that is made later has it again. */
struct mglu_io_room {
    struct mglu_io_room *next;
    unsigned char *bytes;
    size_t size;
};

/* How the tensors of one kind of output are made. */
struct mglu_io_makers {
    void (*divide)(const void *plan, size_t tensor, struct mglu_io_division *division);
    /* Makes and writes one piece; called from any thread. */
    mglu_status (*make)(const void *plan, const struct mglu_io_piece *piece, struct mglu_io_room *room);
    /* Called now and then, when this tensor or a part of it has been written. */
    void (*written)(const void *plan, size_t tensor);
};

struct mglu_io_work {
    const struct mglu_io_makers *makers;
    const void *plan;
    size_t count;     /* tensors */
    const char *path; /* of the input, for errors */
    const mglu_file_pack_options *options;
};

/*
 * Makes all pieces and reports the progress from the calling thread. Of several failures the first in the order of the
 * pieces is returned, as with one thread.
 */
mglu_status mglu_io_work_run(const struct mglu_io_work *work);

/* Rows of so many bytes in a piece. */
int64_t mglu_io_rows_at_once(size_t row_bytes);

/* Memory of so many bytes, aligned to 64, whose content is lost. NULL when out of memory. */
void *mglu_io_room_get(struct mglu_io_room *room, size_t bytes);

void mglu_io_room_clear(struct mglu_io_room *room);

#endif
