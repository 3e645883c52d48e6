/* SPDX-License-Identifier: MIT */
#include "common/io/work.h"

#include "common/io/report.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pieces of one parallel loop: 16 MB. Threads wait for each other between loops, and progress is reported there. */
enum { WINDOW = 64 };

/* Bytes between two reports of the progress within a tensor. */
enum { REPORTED = 16 << 20 };

struct run {
    const struct mglu_io_work *work;
    struct mglu_io_piece pieces[WINDOW];
    size_t count;
    size_t tensor; /* the next piece begins at this row of it */
    int64_t row;
    pthread_mutex_t lock; /* of what follows, as long as a loop runs */
    struct mglu_io_room *idle;
    atomic_size_t failed; /* the first piece that failed; SIZE_MAX: none */
    mglu_status status;
    char reason[512];
    uint64_t done, reported, total; /* bytes */
};

int64_t mglu_io_rows_at_once(size_t row_bytes)
{
    return row_bytes < MGLU_IO_PIECE ? (int64_t)(MGLU_IO_PIECE / (row_bytes ? row_bytes : 1)) : 1;
}

void *mglu_io_room_get(struct mglu_io_room *room, size_t bytes)
{
    void *memory = NULL;

    if (room->bytes && bytes <= room->size)
        return room->bytes;
    mglu_io_room_clear(room);
    if (posix_memalign(&memory, 64, bytes ? bytes : 1) != 0)
        return NULL;
    room->bytes = memory;
    room->size = bytes;
    return memory;
}

void mglu_io_room_clear(struct mglu_io_room *room)
{
    free(room->bytes);
    room->bytes = NULL;
    room->size = 0;
}

/* A room that no piece has at the moment; NULL when out of memory. */
static struct mglu_io_room *take_room(struct run *run)
{
    struct mglu_io_room *room;

    pthread_mutex_lock(&run->lock);
    room = run->idle;
    if (room)
        run->idle = room->next;
    pthread_mutex_unlock(&run->lock);
    return room ? room : calloc(1, sizeof *room);
}

static void give_room(struct run *run, struct mglu_io_room *room)
{
    pthread_mutex_lock(&run->lock);
    room->next = run->idle;
    run->idle = room;
    pthread_mutex_unlock(&run->lock);
}

/* The reason is that of the thread which runs the piece. */
static void note_failure(struct run *run, size_t piece, mglu_status status)
{
    pthread_mutex_lock(&run->lock);
    if (piece < atomic_load(&run->failed)) {
        atomic_store(&run->failed, piece);
        run->status = status;
        snprintf(run->reason, sizeof run->reason, "%s", mglu_last_error());
    }
    pthread_mutex_unlock(&run->lock);
}

/* Those behind one that failed are not made; one before it may fail as well, and is then the first. */
static void make_piece(void *argument, int64_t index)
{
    struct run *run = argument;
    struct mglu_io_room *room;
    mglu_status status;

    if ((size_t)index > atomic_load(&run->failed))
        return;
    room = take_room(run);
    status = room ? run->work->makers->make(run->work->plan, &run->pieces[index], room)
                  : mglu_io_out_of_memory(run->work->path);
    if (room)
        give_room(run, room);
    if (status != MGLU_OK)
        note_failure(run, (size_t)index, status);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Lists the next pieces. */
static void fill_window(struct run *run)
{
    const struct mglu_io_work *work = run->work;

    for (run->count = 0; run->tensor < work->count && run->count < WINDOW; run->tensor++, run->row = 0) {
        struct mglu_io_division division = {0};

        work->makers->divide(work->plan, run->tensor, &division);
        while (run->row < division.rows && run->count < WINDOW) {
            int64_t left = smaller(division.rows - run->row, division.block - run->row % division.block);
            int64_t rows = smaller(left, division.at_once);

            run->pieces[run->count++] = (struct mglu_io_piece){run->tensor, run->row, rows};
            run->row += rows;
        }
        if (run->row < division.rows)
            return;
    }
}

static mglu_status report(struct run *run)
{
    const mglu_file_pack_options *options = run->work->options;

    run->reported = run->done;
    if (options->progress && options->progress(options->user, (size_t)run->done, (size_t)run->total) != 0)
        return mglu_io_fail(MGLU_ERROR_CANCELLED, run->work->path, NULL, "packing was cancelled");
    return MGLU_OK;
}

/* Reports each tensor that is complete, and parts of large ones. */
static mglu_status report_window(struct run *run)
{
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < run->count && status == MGLU_OK; i++) {
        const struct mglu_io_piece *piece = &run->pieces[i];
        struct mglu_io_division division = {0};

        run->work->makers->divide(run->work->plan, piece->tensor, &division);
        run->done += (uint64_t)piece->rows * division.bytes;
        if (run->done > run->reported &&
            (piece->first + piece->rows == division.rows || run->done - run->reported >= REPORTED))
            status = report(run);
    }
    return status;
}

static mglu_status make_window(struct run *run)
{
    const mglu_parallel *parallel = run->work->options->parallel;

    if (parallel)
        parallel->parallel_for(parallel->user, (int64_t)run->count, make_piece, run);
    else
        for (size_t i = 0; i < run->count; i++)
            make_piece(run, (int64_t)i);
    if (run->status != MGLU_OK)
        return mglu_fail(run->status, "%s", run->reason);
    run->work->makers->written(run->work->plan, run->pieces[run->count - 1].tensor);
    return report_window(run);
}

static void free_rooms(struct mglu_io_room *room)
{
    while (room) {
        struct mglu_io_room *next = room->next;

        mglu_io_room_clear(room);
        free(room);
        room = next;
    }
}

mglu_status mglu_io_work_run(const struct mglu_io_work *work)
{
    struct run run = {.work = work, .lock = PTHREAD_MUTEX_INITIALIZER, .failed = SIZE_MAX};
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < work->count; i++) {
        struct mglu_io_division division = {0};

        work->makers->divide(work->plan, i, &division);
        run.total += (uint64_t)division.rows * division.bytes;
    }
    for (fill_window(&run); run.count > 0 && status == MGLU_OK; fill_window(&run))
        status = make_window(&run);
    free_rooms(run.idle);
    return status;
}
