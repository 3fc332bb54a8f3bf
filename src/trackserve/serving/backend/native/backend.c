/* The backend of trackserve in Triton's own process: its queue, and the way of requests and answers.
 *
 * Triton calls the functions TRITONBACKEND_Model...; they put requests into the queue of their
 * model. Workers are threads of Python. They wait here, in ts_take, without Python's lock, and
 * return with a batch of rows of numbers (see backend.h). ts_answer sends an answer, reports the
 * times to Triton's statistics and releases the request.
 *
 * A request belongs to whoever holds its pointer: the queue, then a worker, until ts_answer or
 * ts_fail ends it. An event of a bundle is a token in the queue; its tensors are in Python.
 */
#include "backend.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_NAMES = 256, MAX_IDENTITY = 1024, MAX_CONFIG = 1 << 20 };
enum { PLACE_FREE = 0, PLACE_STOPPING = 1, PLACE_FULL = 2 };

typedef struct Entry {
    struct Entry *next;
    Request *request; /* NULL for an event of a bundle */
    int64_t token, bytes;
} Entry;

/* A worker that waits. */
typedef struct Sleeper {
    struct Sleeper *below;
    pthread_cond_t woken;
    bool is_woken;
} Sleeper;

struct Model {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    Sleeper *sleepers; /* the one that waits for the shortest time is on top */
    Entry *first, **end;
    int64_t waiting, held, arrived, refused;
    bool refusing, closed;
    int64_t queue, batch_events, batch_bytes;
    bool waits, logs;
    char *full, *stopping, *bundle, *identity, *ticket, *accepted;
    char *wire, *wire_version, *first_wire;
    char *inputs[MAX_NAMES], *outputs[MAX_NAMES];
};

typedef struct {
    TritonInstance *triton;
    Model *model;
} Instance;

struct Request {
    Entry entry;
    TritonRequest *triton;
    Instance *instance;
    int64_t started;     /* ns; 0 before a worker has begun */
    int64_t batch, batch_started; /* size of the batch that ends with this request; else 0 */
    char *identity;      /* that the client expects; NULL for any */
    char *ticket;        /* tells whether the client still waits; NULL if it has none */
    char *wire;          /* version of the wire that the client speaks; NULL if it does not say */
    int64_t row[];       /* see backend.h */
};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Report an error that nobody can be told, and end it. */
static void log_error(Error *error) {
    if (error) {
        const char *message = TRITONSERVER_ErrorMessage(error);
        Error *second = TRITONSERVER_LogMessage(LOG_ERROR, __FILE__, __LINE__, message);
        if (second) TRITONSERVER_ErrorDelete(second);
        TRITONSERVER_ErrorDelete(error);
    }
}

static char *copy_of(const char *text) {
    char *copy = strdup(text);
    if (!copy) abort();
    return copy;
}

/* Position of `name` in a list that ends with NULL; -1 if it is not there. */
static int64_t find_name(char *const *names, const char *name) {
    for (int64_t i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) return i;
    return -1;
}

/* -- requests ---------------------------------------------------------------------------------- */

/* End a request: report its times and give it back to Triton. `ended` is the end of its work. */
static void finish(Request *request, bool success, int64_t ended) {
    TritonInstance *instance = request->instance->triton;
    int64_t start = __atomic_load_n(&request->started, __ATOMIC_ACQUIRE);
    if (!start) start = ended;
    int64_t end = now();
    log_error(TRITONBACKEND_ModelInstanceReportStatistics(instance, request->triton, success,
                                                          start, start, ended, end));
    if (request->batch) {
        int64_t first = request->batch_started;
        log_error(TRITONBACKEND_ModelInstanceReportBatchStatistics(
            instance, request->batch, first, first, ended, end));
    }
    log_error(TRITONBACKEND_RequestRelease(request->triton, RELEASE_ALL));
    free(request->identity);
    free(request->ticket);
    free(request->wire);
    free(request);
}

/* Send an error as the answer of a request. `response` may be NULL. */
static void send_error(TritonRequest *triton, Response *response, Error *answer) {
    Error *error = response ? NULL : TRITONBACKEND_ResponseNew(&response, triton);
    if (!error) error = TRITONBACKEND_ResponseSend(response, RESPONSE_FINAL, answer);
    log_error(error);
    TRITONSERVER_ErrorDelete(answer);
}

void ts_fail(Request *request, int code, const char *message) {
    int64_t ended = now();
    send_error(request->triton, NULL, TRITONSERVER_ErrorNew(code, message));
    finish(request, false, ended);
}

/* Put one output into a response; return the outputs that follow. */
static Error *add_output(Request *request, Response *response, const int64_t **outputs) {
    const int64_t *row = *outputs;
    const char *name = request->instance->model->outputs[row[0]];
    int64_t size = row[3], memory_id = 0;
    int memory = IN_CPU;
    Output *output;
    void *buffer;
    *outputs += 5 + row[4];
    Error *error = TRITONBACKEND_ResponseOutput(response, &output, name, row[1], row + 5, row[4]);
    if (!error) error = TRITONBACKEND_OutputBuffer(output, &buffer, size, &memory, &memory_id);
    if (error) return error;
    if (memory != IN_CPU && memory != IN_PINNED)
        return TRITONSERVER_ErrorNew(CODE_INVALID_ARG, "outputs must be in host memory");
    if (size) memcpy(buffer, (const void *)row[2], size);
    return NULL;
}

/* Send outputs. Each is: name, type, address, bytes, number of dimensions, dimensions. */
void ts_answer(Request *request, const int64_t *outputs, int64_t n_outputs) {
    int64_t ended = now();
    Response *response = NULL;
    Error *error = TRITONBACKEND_ResponseNew(&response, request->triton);
    for (int64_t i = 0; i < n_outputs && !error; i++) error = add_output(request, response, &outputs);
    bool success = !error;
    if (success)
        log_error(TRITONBACKEND_ResponseSend(response, RESPONSE_FINAL, NULL));
    else
        send_error(request->triton, response, error);
    finish(request, success, ended);
}

/* Note that the work on a request begins; return its ticket, which is empty if it has none. NULL if
 * its client has given up. */
const char *ts_start(Request *request) {
    int64_t none = 0;
    bool cancelled = false;
    __atomic_compare_exchange_n(&request->started, &none, now(), false, __ATOMIC_ACQ_REL,
                                __ATOMIC_ACQUIRE);
    log_error(TRITONBACKEND_RequestIsCancelled(request->triton, &cancelled));
    if (cancelled) return NULL;
    return request->ticket ? request->ticket : "";
}

/* The id that the client gave to the request. */
const char *ts_id(const Request *request) {
    const char *id = "";
    log_error(TRITONBACKEND_RequestId(request->triton, &id));
    return id;
}

const char *ts_identity(const Request *request) { return request->identity; }

const char *ts_wire(const Request *request) { return request->wire; }

int64_t ts_describe(const Request *request, int64_t *row, int64_t capacity) {
    int64_t length = request->row[ROW_LENGTH];
    if (length > capacity) return 0;
    memcpy(row, request->row, length * sizeof *row);
    return length;
}

/* Copy all inputs, each to its offset; return 0, or 1 if the request has been answered with an error.
 * A client may write to memory that it shares while a worker reads. */
int ts_copy(Request *request, char *to) {
    const int64_t *row = request->row + ROW_HEAD;
    for (int64_t i = 0; i < request->row[ROW_INPUTS]; i++, row += 5 + row[4]) {
        Input *input;
        uint32_t n_buffers = 0;
        uint64_t at = 0, size = row[3];
        Error *error = TRITONBACKEND_RequestInputByIndex(request->triton, i, &input);
        if (!error)
            error = TRITONBACKEND_InputProperties(input, NULL, NULL, NULL, NULL, NULL, &n_buffers);
        for (uint32_t k = 0; k < n_buffers && !error; k++) {
            const void *buffer;
            uint64_t piece;
            int memory = IN_CPU;
            int64_t memory_id = 0;
            error = TRITONBACKEND_InputBuffer(input, k, &buffer, &piece, &memory, &memory_id);
            if (error) break;
            if ((memory != IN_CPU && memory != IN_PINNED) || piece > size - at) {
                error = TRITONSERVER_ErrorNew(CODE_INVALID_ARG, "inputs must be in host memory");
                break;
            }
            if (piece) memcpy(to + row[2] + at, buffer, piece);
            at += piece;
        }
        if (!error && at != size)
            error = TRITONSERVER_ErrorNew(CODE_INVALID_ARG, "an input is shorter than it says");
        if (error) {
            int64_t ended = now();
            send_error(request->triton, NULL, error);
            finish(request, false, ended);
            return 1;
        }
    }
    return 0;
}

/* Describe the inputs of a request in its row; `has_bundle` tells whether one is a bundle. */
static Error *describe_inputs(Request *request, uint32_t n, int64_t **end, bool *has_bundle) {
    Model *model = request->instance->model;
    int64_t offset = 0, *row = *end;
    for (uint32_t i = 0; i < n; i++) {
        Input *input;
        const char *name;
        const int64_t *shape;
        int type;
        uint32_t n_dims;
        uint64_t size;
        Error *error = TRITONBACKEND_RequestInputByIndex(request->triton, i, &input);
        if (!error)
            error = TRITONBACKEND_InputProperties(input, &name, &type, &shape, &n_dims, &size, NULL);
        if (error) return error;
        int64_t position = find_name(model->inputs, name);
        if (position < 0 || n_dims > MAX_DIMS)
            return TRITONSERVER_ErrorNew(CODE_INVALID_ARG, "unknown input, or too many dimensions");
        *has_bundle |= !strcmp(name, model->bundle);
        int64_t head[] = {position, type, offset, (int64_t)size, n_dims};
        memcpy(row, head, sizeof head);
        memcpy(row + 5, shape, n_dims * sizeof *shape);
        row += 5 + n_dims;
        offset += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    request->row[ROW_BYTES] = offset;
    *end = row;
    return NULL;
}

static Error *describe_outputs(Request *request, uint32_t n, int64_t **end) {
    for (uint32_t i = 0; i < n; i++) {
        const char *name;
        Error *error = TRITONBACKEND_RequestOutputName(request->triton, i, &name);
        if (error) return error;
        int64_t position = find_name(request->instance->model->outputs, name);
        if (position < 0) return TRITONSERVER_ErrorNew(CODE_INVALID_ARG, "unknown output");
        *(*end)++ = position;
    }
    return NULL;
}

/* Read the identity that the client expects, its ticket and its version, if there are any. */
static Error *read_parameters(Request *request) {
    const Model *model = request->instance->model;
    uint32_t n = 0;
    Error *error = TRITONBACKEND_RequestParameterCount(request->triton, &n);
    for (uint32_t i = 0; i < n && !error; i++) {
        const char *key;
        const void *value;
        int type;
        error = TRITONBACKEND_RequestParameter(request->triton, i, &key, &type, &value);
        if (error) break;
        const char *text = type == PARAMETER_STRING ? value : "";
        if (!request->identity && !strcmp(key, model->identity)) request->identity = copy_of(text);
        if (!request->ticket && !strcmp(key, model->ticket)) request->ticket = copy_of(text);
        if (!request->wire && !strcmp(key, model->wire)) request->wire = copy_of(text);
    }
    return error;
}

/* Whether the client expects no identity, or the one that was accepted before. */
static bool is_accepted(Model *model, const char *identity) {
    if (!identity) return true;
    pthread_mutex_lock(&model->lock);
    bool same = model->accepted && !strcmp(model->accepted, identity);
    pthread_mutex_unlock(&model->lock);
    return same;
}

/* Whether the client speaks this version of the wire. */
static bool is_spoken(const Model *model, const char *wire) {
    return !strcmp(wire ? wire : model->first_wire, model->wire_version);
}

/* Take over one request of Triton. `callbacks` has the Python side. */
static void take_over(Instance *instance, TritonRequest *triton, const Callbacks *callbacks) {
    uint32_t n_inputs = 0, n_outputs = 0;
    bool has_bundle = false;
    log_error(TRITONBACKEND_RequestInputCount(triton, &n_inputs));
    log_error(TRITONBACKEND_RequestOutputCount(triton, &n_outputs));
    size_t most = ROW_HEAD + n_inputs * (5 + MAX_DIMS) + n_outputs;
    Request *request = calloc(1, sizeof *request + most * sizeof request->row[0]);
    if (!request) abort();
    request->triton = triton;
    request->instance = instance;
    request->entry.request = request;
    request->row[ROW_REQUEST] = (int64_t)request;
    request->row[ROW_ARRIVED] = now();
    request->row[ROW_INPUTS] = n_inputs;
    request->row[ROW_OUTPUTS] = n_outputs;
    int64_t *end = request->row + ROW_HEAD;
    Error *error = describe_inputs(request, n_inputs, &end, &has_bundle);
    if (!error) error = describe_outputs(request, n_outputs, &end);
    if (!error) error = read_parameters(request);
    if (error) {
        int64_t ended = now();
        send_error(triton, NULL, error);
        finish(request, false, ended);
        return;
    }
    request->row[ROW_LENGTH] = end - request->row;
    request->entry.bytes = request->row[ROW_BYTES];
    Model *model = instance->model;
    if (has_bundle || model->logs || !is_spoken(model, request->wire) ||
        !is_accepted(model, request->identity)) {
        request->batch = 1;
        request->batch_started = request->row[ROW_ARRIVED];
        callbacks->take(model, request);
    } else {
        ts_enqueue(model, request);
    }
}

/* -- the queue --------------------------------------------------------------------------------- */

void ts_configure(Model *model, const Settings *settings) {
    model->queue = settings->queue;
    model->batch_events = settings->batch_events;
    model->batch_bytes = settings->batch_bytes;
    model->waits = settings->when_full_waits;
    model->logs = settings->logs;
    model->full = copy_of(settings->full);
    model->stopping = copy_of(settings->stopping);
    model->bundle = copy_of(settings->bundle);
    model->identity = copy_of(settings->identity);
    model->ticket = copy_of(settings->ticket);
    model->wire = copy_of(settings->wire);
    model->wire_version = copy_of(settings->wire_version);
    model->first_wire = copy_of(settings->first_wire);
    for (int i = 0; i < MAX_NAMES - 1 && settings->inputs[i]; i++)
        model->inputs[i] = copy_of(settings->inputs[i]);
    for (int i = 0; i < MAX_NAMES - 1 && settings->outputs[i]; i++)
        model->outputs[i] = copy_of(settings->outputs[i]);
}

/* Take an identity for that of the model from now on; Python has compared them. */
void ts_accept(Model *model, const char *identity) {
    pthread_mutex_lock(&model->lock);
    free(model->accepted);
    model->accepted = copy_of(identity);
    pthread_mutex_unlock(&model->lock);
}

/* Reserve a place; the lock is held. */
static int reserve(Model *model) {
    while (model->waits && model->held >= model->queue && !model->refusing)
        pthread_cond_wait(&model->freed, &model->lock);
    if (model->refusing) return PLACE_STOPPING;
    if (model->held >= model->queue) return PLACE_FULL;
    model->held++;
    return PLACE_FREE;
}

/* Wake the worker that has waited for the shortest time: its data are still in its processor's
 * caches. The lock is held. */
static void wake(Model *model) {
    Sleeper *top = model->sleepers;
    if (!top) return;
    model->sleepers = top->below;
    top->is_woken = true;
    pthread_cond_signal(&top->woken);
}

/* Wait until woken; the lock is held. */
static void sleep_until_woken(Model *model) {
    Sleeper self = {.below = model->sleepers};
    pthread_cond_init(&self.woken, NULL);
    model->sleepers = &self;
    while (!self.is_woken) pthread_cond_wait(&self.woken, &model->lock);
    pthread_cond_destroy(&self.woken);
}

/* Put an entry into its place; the lock is held. */
static void append(Model *model, Entry *entry) {
    entry->next = NULL;
    *model->end = entry;
    model->end = &entry->next;
    model->waiting++;
    wake(model);
}

int ts_reserve(Model *model) {
    pthread_mutex_lock(&model->lock);
    int place = reserve(model);
    pthread_mutex_unlock(&model->lock);
    return place;
}

void ts_put(Model *model, int64_t token, int64_t bytes) {
    Entry *entry = calloc(1, sizeof *entry);
    if (!entry) abort();
    entry->token = token;
    entry->bytes = bytes;
    pthread_mutex_lock(&model->lock);
    append(model, entry);
    pthread_mutex_unlock(&model->lock);
}

/* Put a request into the queue, or answer that there is no place; return 0, or what it lacked. */
int ts_enqueue(Model *model, Request *request) {
    pthread_mutex_lock(&model->lock);
    int place = reserve(model);
    if (place == PLACE_FREE) {
        request->batch = 0;
        model->arrived++;
        append(model, &request->entry);
    } else {
        model->refused++;
    }
    pthread_mutex_unlock(&model->lock);
    if (place != PLACE_FREE)
        ts_fail(request, CODE_UNAVAILABLE, place == PLACE_FULL ? model->full : model->stopping);
    return place;
}

static int64_t row_length(const Entry *entry) {
    return entry->request ? entry->request->row[ROW_LENGTH] : ROW_TOKEN + 1;
}

/* Take the next batch: a worker's share of what waits, within the limits. Waits until there is one.
 * Returns how many numbers were written to `rows`; 0 if the queue is closed and empty. */
int64_t ts_take(Model *model, int64_t n_workers, int64_t *rows, int64_t capacity) {
    int64_t used = 0, count = 0, size = 0;
    Request *last = NULL;
    pthread_mutex_lock(&model->lock);
    while (!model->first && !model->closed) sleep_until_woken(model);
    int64_t most = (model->waiting + n_workers - 1) / n_workers;
    if (most > model->batch_events) most = model->batch_events;
    while (model->first && count < most) {
        Entry *entry = model->first;
        int64_t length = row_length(entry);
        size += entry->bytes;
        if (count && (size > model->batch_bytes || used + length > capacity)) break;
        if (!(model->first = entry->next)) model->end = &model->first;
        model->waiting--;
        count++;
        if (entry->request) {
            last = entry->request;
            memcpy(rows + used, last->row, length * sizeof *rows);
        } else {
            rows[used + ROW_LENGTH] = length;
            rows[used + ROW_TOKEN] = entry->token;
            free(entry);
        }
        used += length;
    }
    pthread_mutex_unlock(&model->lock);
    if (last) {
        last->batch = count;
        last->batch_started = now();
    }
    return used;
}

/* Give back the place of an event that has its answer. */
void ts_release(Model *model) {
    pthread_mutex_lock(&model->lock);
    model->held--;
    pthread_cond_signal(&model->freed);
    pthread_mutex_unlock(&model->lock);
}

void ts_refuse_new(Model *model) {
    pthread_mutex_lock(&model->lock);
    model->refusing = true;
    pthread_cond_broadcast(&model->freed);
    pthread_mutex_unlock(&model->lock);
}

void ts_close(Model *model) {
    ts_refuse_new(model);
    pthread_mutex_lock(&model->lock);
    model->closed = true;
    while (model->sleepers) wake(model);
    pthread_mutex_unlock(&model->lock);
}

/* Events held, and requests that ts_enqueue has taken and refused since the start. */
void ts_counts(Model *model, int64_t counts[3]) {
    pthread_mutex_lock(&model->lock);
    counts[0] = model->held;
    counts[1] = model->arrived;
    counts[2] = model->refused;
    pthread_mutex_unlock(&model->lock);
}

/* -- what Triton calls ------------------------------------------------------------------------- */

static const Callbacks *python;
static pthread_mutex_t python_lock = PTHREAD_MUTEX_INITIALIZER;

static void free_model(Model *model) {
    char *texts[] = {model->full,     model->stopping, model->bundle,       model->identity,
                     model->ticket,   model->accepted, model->wire_version, model->wire,
                     model->first_wire};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) free(texts[i]);
    for (int i = 0; i < MAX_NAMES; i++) {
        free(model->inputs[i]);
        free(model->outputs[i]);
    }
    pthread_cond_destroy(&model->freed);
    pthread_mutex_destroy(&model->lock);
    free(model);
}

static Model *new_model(void) {
    Model *model = calloc(1, sizeof *model);
    if (!model) abort();
    pthread_mutex_init(&model->lock, NULL);
    pthread_cond_init(&model->freed, NULL);
    model->end = &model->first;
    return model;
}

Error *TRITONBACKEND_Initialize(Backend *backend) {
    (void)backend;
    uint32_t major, minor;
    Error *error = TRITONBACKEND_ApiVersion(&major, &minor);
    if (!error && major != 1)
        error = TRITONSERVER_ErrorNew(CODE_INTERNAL, "this Triton has another backend interface");
    return error;
}

/* Let Python read the configuration and complete it by the tensors. */
static Error *complete(TritonModel *triton, Model *model, const char *config, char *text) {
    const char *name, *location;
    uint64_t version;
    int type;
    char folder[4096];
    bool wanted;
    Error *error = TRITONBACKEND_ModelName(triton, &name);
    if (!error) error = TRITONBACKEND_ModelVersion(triton, &version);
    if (!error) error = TRITONBACKEND_ModelRepository(triton, &type, &location);
    if (!error) error = TRITONBACKEND_ModelAutoCompleteConfig(triton, &wanted);
    if (error) return error;
    snprintf(folder, sizeof folder, "%s/%llu", location, (unsigned long long)version);
    if (python->open_model(model, name, folder, config, text, MAX_CONFIG))
        return TRITONSERVER_ErrorNew(CODE_INTERNAL, text);
    if (!wanted) return NULL;
    Message *message;
    error = TRITONSERVER_MessageNewFromSerializedJson(&message, text, strlen(text));
    if (error) return error;
    error = TRITONBACKEND_ModelSetConfig(triton, 1, message);
    log_error(TRITONSERVER_MessageDelete(message));
    return error;
}

Error *TRITONBACKEND_ModelInitialize(TritonModel *triton) {
    Message *message;
    const char *config;
    size_t size;
    char *text = calloc(1, MAX_CONFIG);
    if (!text) abort();
    pthread_mutex_lock(&python_lock);
    if (!python) python = start_python(text, MAX_CONFIG);
    pthread_mutex_unlock(&python_lock);
    Error *error = python ? NULL : TRITONSERVER_ErrorNew(CODE_INTERNAL, text);
    if (!error) error = TRITONBACKEND_ModelConfig(triton, 1, &message);
    if (!error) {
        error = TRITONSERVER_MessageSerializeToJson(message, &config, &size);
        char *copy = error ? NULL : strndup(config, size);
        Model *model = new_model();
        if (!error) error = complete(triton, model, copy, text);
        if (!error) error = TRITONBACKEND_ModelSetState(triton, model);
        if (error) free_model(model);
        free(copy);
        log_error(TRITONSERVER_MessageDelete(message));
    }
    free(text);
    return error;
}

Error *TRITONBACKEND_ModelFinalize(TritonModel *triton) {
    Model *model = NULL;
    log_error(TRITONBACKEND_ModelState(triton, (void **)&model));
    if (model) {
        python->close_model(model);
        free_model(model);
    }
    return NULL;
}

Error *TRITONBACKEND_ModelInstanceInitialize(TritonInstance *triton) {
    int kind;
    int32_t device;
    TritonModel *triton_model;
    Model *model;
    Error *error = TRITONBACKEND_ModelInstanceKind(triton, &kind);
    if (!error) error = TRITONBACKEND_ModelInstanceDeviceId(triton, &device);
    if (!error) error = TRITONBACKEND_ModelInstanceModel(triton, &triton_model);
    if (!error) error = TRITONBACKEND_ModelState(triton_model, (void **)&model);
    if (error) return error;
    char *text = calloc(1, MAX_CONFIG);
    Instance *instance = calloc(1, sizeof *instance);
    if (!text || !instance) abort();
    *instance = (Instance){triton, model};
    if (python->add_workers(model, kind == KIND_GPU ? device : -1, text, MAX_CONFIG))
        error = TRITONSERVER_ErrorNew(CODE_INTERNAL, text);
    if (!error) error = TRITONBACKEND_ModelInstanceSetState(triton, instance);
    if (error) free(instance);
    free(text);
    return error;
}

/* All requests of an instance are answered when Triton ends it. */
Error *TRITONBACKEND_ModelInstanceFinalize(TritonInstance *triton) {
    Instance *instance = NULL;
    log_error(TRITONBACKEND_ModelInstanceState(triton, (void **)&instance));
    free(instance);
    return NULL;
}

/* Triton's handlers of a crash call exit(), which waits for threads that may never end. A process
 * that crashes must be gone at once, so that it is started anew. Triton sets its handlers after it
 * has loaded the models and while the first requests come, so every request takes them away. */
static void crash_at_once(void) {
    signal(SIGABRT, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
}

Error *TRITONBACKEND_ModelInstanceExecute(TritonInstance *triton, TritonRequest **requests,
                                          uint32_t count) {
    crash_at_once();
    Instance *instance;
    Error *error = TRITONBACKEND_ModelInstanceState(triton, (void **)&instance);
    for (uint32_t i = 0; i < count && !error; i++) take_over(instance, requests[i], python);
    return error;
}
