/* What the parts of the backend share: models, requests, and the functions of the Python side. */
#ifndef TRACKSERVE_BACKEND_H
#define TRACKSERVE_BACKEND_H

#include "triton.h"

typedef struct Model Model;
typedef struct Request Request;

/* Functions of the Python side. Those that return an int return 0 if all is well; else the text of
 * the error is in `text`, which has room for `size` bytes. */
typedef struct {
    /* Read the configuration; call ts_configure. `text` becomes the completed configuration. */
    int (*open_model)(Model *model, const char *name, const char *folder, const char *config,
                      char *text, int64_t size);
    /* Add the workers of an instance; `device` is the number of its GPU, or -1. */
    int (*add_workers)(Model *model, int device, char *text, int64_t size);
    /* Take a request that holds a bundle, that expects an identity not seen before or another
     * version of the wire, or that is logged. */
    void (*take)(Model *model, Request *request);
    /* Answer all that is held, then end the workers. */
    void (*close_model)(Model *model);
} Callbacks;

/* Start Python, once; NULL if it fails, with the reason in `text`. */
const Callbacks *start_python(char *text, size_t size);

/* Settings of a model; the Python side fills them in. */
typedef struct {
    int64_t queue, batch_events, batch_bytes, when_full_waits;
    int64_t logs; /* whether the Python side takes every request, for its log */
    const char *full, *stopping; /* texts of the errors of requests that find no place */
    const char *bundle;          /* name of the input that holds a bundle */
    const char *identity;        /* name of the parameter that holds an identity */
    const char *ticket;          /* name of the parameter that holds a ticket */
    const char *wire;            /* name of the parameter that holds a version of the wire */
    const char *wire_version;    /* the version that is spoken here */
    const char *first_wire;      /* the version of a client that does not say its own */
    const char *const *inputs, *const *outputs; /* names, NULL behind the last */
} Settings;

/* A request is described to Python by a row of numbers:
 *   length of the row, token, request, arrival (ns), bytes, number of inputs, number of outputs,
 *   for each input: name, type, offset, bytes, number of dimensions, dimensions,
 *   for each output: name.
 * Names are positions in the lists of Settings. Inputs are copied to `offset`. An event of a bundle
 * has a token, which is not 0, and nothing behind the first two numbers. */
enum { ROW_LENGTH, ROW_TOKEN, ROW_REQUEST, ROW_ARRIVED, ROW_BYTES, ROW_INPUTS, ROW_OUTPUTS, ROW_HEAD };
enum { MAX_DIMS = 8, ALIGNMENT = 64 };

void ts_configure(Model *model, const Settings *settings);
int ts_reserve(Model *model);
void ts_put(Model *model, int64_t token, int64_t bytes);
int ts_enqueue(Model *model, Request *request);
int64_t ts_take(Model *model, int64_t n_workers, int64_t *rows, int64_t capacity);
void ts_release(Model *model);
void ts_refuse_new(Model *model);
void ts_close(Model *model);
void ts_counts(Model *model, int64_t counts[3]);
void ts_accept(Model *model, const char *identity);
int64_t ts_describe(const Request *request, int64_t *row, int64_t capacity);
const char *ts_id(const Request *request);
const char *ts_identity(const Request *request);
const char *ts_wire(const Request *request);
int ts_copy(Request *request, char *to);
const char *ts_start(Request *request);
void ts_answer(Request *request, const int64_t *outputs, int64_t n_outputs);
void ts_fail(Request *request, int code, const char *message);

#endif
