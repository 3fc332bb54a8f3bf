/* The C part of the native backend under load, with a fake Triton and a fake Python.
 *
 * Built together with backend.c, under a sanitizer. Threads play Triton: they send requests, plain
 * ones and bundles, good ones and broken ones. Threads play the workers of Python. At the end every
 * request must have had one answer and be released, with its statistics.
 */
#include "backend.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SENDERS = 4, WORKERS = 3, EACH = 500, ALONE = 40, QUEUE = 8, IN_BUNDLE = 3 };

struct TRITONSERVER_Error { char text[128]; int code; };
struct TRITONSERVER_Message { char text[32]; };
struct TRITONBACKEND_Model { void *state; };
struct TRITONBACKEND_ModelInstance { void *state; TritonModel *model; };
struct TRITONBACKEND_Input { const char *name; int64_t shape[1]; uint64_t size; int memory; char *data; };
struct TRITONBACKEND_Request { Input inputs[2]; int n_inputs, number; const char *identity; };
struct TRITONBACKEND_Response { TritonRequest *request; Output *output; };
struct TRITONBACKEND_Output { int64_t size; char data[64]; };

static long taken[WORKERS]; /* batches of each worker */
static long answered, failed, released, succeeded, reported, in_batches;

#define ADD(counter, n) __atomic_add_fetch(&counter, n, __ATOMIC_RELAXED)

/* -- Triton ------------------------------------------------------------------------------------ */

Error *TRITONSERVER_ErrorNew(int code, const char *message) {
    Error *error = calloc(1, sizeof *error);
    error->code = code;
    snprintf(error->text, sizeof error->text, "%s", message);
    return error;
}
void TRITONSERVER_ErrorDelete(Error *error) { free(error); }
const char *TRITONSERVER_ErrorMessage(Error *error) { return error->text; }
Error *TRITONSERVER_LogMessage(int level, const char *file, int line, const char *message) {
    (void)level;
    fprintf(stderr, "%s:%d: %s\n", file, line, message);
    return NULL;
}
Error *TRITONSERVER_MessageNewFromSerializedJson(Message **made, const char *text, size_t size) {
    *made = calloc(1, sizeof **made);
    assert(size < sizeof (*made)->text);
    memcpy((*made)->text, text, size);
    return NULL;
}
Error *TRITONSERVER_MessageSerializeToJson(Message *message, const char **text, size_t *size) {
    *text = message->text;
    *size = strlen(message->text);
    return NULL;
}
Error *TRITONSERVER_MessageDelete(Message *message) { free(message); return NULL; }

Error *TRITONBACKEND_ApiVersion(uint32_t *major, uint32_t *minor) {
    *major = 1, *minor = 19;
    return NULL;
}
Error *TRITONBACKEND_ModelName(TritonModel *m, const char **name) {
    (void)m;
    *name = "model";
    return NULL;
}
Error *TRITONBACKEND_ModelVersion(TritonModel *m, uint64_t *version) { (void)m; *version = 7; return NULL; }
Error *TRITONBACKEND_ModelRepository(TritonModel *m, int *type, const char **location) {
    (void)m;
    *type = 0;
    *location = "/models/model";
    return NULL;
}
Error *TRITONBACKEND_ModelConfig(TritonModel *m, uint32_t version, Message **config) {
    (void)m;
    (void)version;
    return TRITONSERVER_MessageNewFromSerializedJson(config, "{}", 2);
}
Error *TRITONBACKEND_ModelAutoCompleteConfig(TritonModel *m, bool *wanted) {
    (void)m;
    *wanted = true;
    return NULL;
}
Error *TRITONBACKEND_ModelSetConfig(TritonModel *m, uint32_t version, Message *config) {
    (void)m;
    (void)version;
    assert(!strcmp(config->text, "{\"done\": 1}"));
    return NULL;
}
Error *TRITONBACKEND_ModelState(TritonModel *m, void **state) { *state = m->state; return NULL; }
Error *TRITONBACKEND_ModelSetState(TritonModel *m, void *state) { m->state = state; return NULL; }
Error *TRITONBACKEND_ModelInstanceKind(TritonInstance *i, int *kind) { (void)i; *kind = KIND_GPU; return NULL; }
Error *TRITONBACKEND_ModelInstanceDeviceId(TritonInstance *i, int32_t *device) { (void)i; *device = 5; return NULL; }
Error *TRITONBACKEND_ModelInstanceModel(TritonInstance *i, TritonModel **model) { *model = i->model; return NULL; }
Error *TRITONBACKEND_ModelInstanceState(TritonInstance *i, void **state) { *state = i->state; return NULL; }
Error *TRITONBACKEND_ModelInstanceSetState(TritonInstance *i, void *state) { i->state = state; return NULL; }
Error *TRITONBACKEND_ModelInstanceReportStatistics(TritonInstance *i, TritonRequest *r, bool success,
                                                   uint64_t exec_start, uint64_t compute_start,
                                                   uint64_t compute_end, uint64_t exec_end) {
    (void)i;
    (void)r;
    assert(exec_start && exec_start <= compute_start && compute_start <= compute_end);
    assert(compute_end <= exec_end);
    ADD(reported, 1);
    ADD(succeeded, success);
    return NULL;
}
Error *TRITONBACKEND_ModelInstanceReportBatchStatistics(TritonInstance *i, uint64_t size, uint64_t a,
                                                        uint64_t b, uint64_t c, uint64_t d) {
    (void)i;
    assert(a && a <= b && b <= c && c <= d);
    ADD(in_batches, size);
    return NULL;
}
Error *TRITONBACKEND_RequestInputCount(TritonRequest *r, uint32_t *count) { *count = r->n_inputs; return NULL; }
Error *TRITONBACKEND_RequestInputByIndex(TritonRequest *r, uint32_t index, Input **input) {
    *input = r->inputs + index;
    return NULL;
}
Error *TRITONBACKEND_RequestOutputCount(TritonRequest *r, uint32_t *count) { (void)r; *count = 1; return NULL; }
Error *TRITONBACKEND_RequestOutputName(TritonRequest *r, uint32_t index, const char **name) {
    assert(!index);
    *name = r->number % 31 == 30 ? "unknown" : "out";
    return NULL;
}
Error *TRITONBACKEND_RequestParameterCount(TritonRequest *r, uint32_t *count) {
    *count = r->identity ? 4 : 0;
    return NULL;
}
Error *TRITONBACKEND_RequestParameter(TritonRequest *r, uint32_t index, const char **key, int *type,
                                      const void **value) {
    static const char *const keys[] = {"other", "identity", "ticket", "wire"};
    *key = keys[index];
    *type = PARAMETER_STRING;
    *value = index == 3 ? "1" : index == 2 ? "file:3:5" : r->identity;
    return NULL;
}
Error *TRITONBACKEND_RequestId(TritonRequest *r, const char **id) {
    *id = r->identity ? "an-id" : "";
    return NULL;
}
Error *TRITONBACKEND_RequestIsCancelled(TritonRequest *r, bool *cancelled) {
    *cancelled = r->number % 13 == 12;
    return NULL;
}
Error *TRITONBACKEND_RequestRelease(TritonRequest *r, uint32_t flags) {
    assert(flags == RELEASE_ALL);
    ADD(released, 1);
    for (int i = 0; i < r->n_inputs; i++) free(r->inputs[i].data);
    free(r);
    return NULL;
}
Error *TRITONBACKEND_InputProperties(Input *input, const char **name, int *type, const int64_t **shape,
                                     uint32_t *n_dims, uint64_t *size, uint32_t *n_buffers) {
    if (name) *name = input->name;
    if (type) *type = 2;
    if (shape) *shape = input->shape;
    if (n_dims) *n_dims = 1;
    if (size) *size = input->size;
    if (n_buffers) *n_buffers = 2; /* as by HTTP */
    return NULL;
}
Error *TRITONBACKEND_InputBuffer(Input *input, uint32_t index, const void **buffer, uint64_t *size,
                                 int *memory, int64_t *memory_id) {
    uint64_t first = input->size / 2;
    *buffer = input->data + (index ? first : 0);
    *size = index ? input->size - first : first;
    *memory = input->memory;
    *memory_id = 0;
    return NULL;
}
Error *TRITONBACKEND_ResponseNew(Response **response, TritonRequest *request) {
    *response = calloc(1, sizeof **response);
    (*response)->request = request;
    return NULL;
}
Error *TRITONBACKEND_ResponseOutput(Response *response, Output **output, const char *name, int type,
                                    const int64_t *shape, uint32_t n_dims) {
    assert(!strcmp(name, "out") && type == 2 && n_dims == 1 && shape[0] > 0);
    if (response->request->number % 41 == 40) return TRITONSERVER_ErrorNew(CODE_INTERNAL, "no output");
    *output = response->output = calloc(1, sizeof **output);
    return NULL;
}
Error *TRITONBACKEND_OutputBuffer(Output *output, void **buffer, uint64_t size, int *memory,
                                  int64_t *memory_id) {
    assert(size <= sizeof output->data && *memory == IN_CPU);
    *buffer = output->data;
    output->size = size;
    *memory_id = 0;
    return NULL;
}
Error *TRITONBACKEND_ResponseSend(Response *response, uint32_t flags, Error *error) {
    assert(flags == RESPONSE_FINAL);
    if (error) {
        ADD(failed, 1);
    } else {
        TritonRequest *request = response->request;
        assert(!memcmp(response->output->data, request->inputs[0].data, request->inputs[0].size));
        ADD(answered, 1);
    }
    free(response->output);
    free(response);
    return NULL;
}

/* -- Python ------------------------------------------------------------------------------------ */

static Model *opened;
static pthread_t workers[WORKERS];

typedef struct { Request *request; int missing; char data[64]; int64_t size; } Bundle;

static void answer(Request *request, const char *data, int64_t size) {
    int64_t output[] = {0, 2, (int64_t)data, size, 1, size};
    ts_answer(request, output, 1);
}

/* Answer an event of a bundle; the last one answers the bundle. */
static void gather(Bundle *bundle) {
    ts_start(bundle->request);
    if (!__atomic_sub_fetch(&bundle->missing, 1, __ATOMIC_ACQ_REL)) {
        answer(bundle->request, bundle->data, bundle->size);
        free(bundle);
    }
}

static void *work(void *number) {
    int64_t rows[256], used;
    while ((used = ts_take(opened, WORKERS, rows, 256))) {
        ADD(taken[(intptr_t)number], 1);
        for (int64_t *row = rows; row < rows + used; row += row[ROW_LENGTH]) {
            Request *request = (Request *)row[ROW_REQUEST];
            if (row[ROW_TOKEN]) {
                gather((Bundle *)row[ROW_TOKEN]);
            } else {
                char *data = malloc(row[ROW_BYTES]);
                if (!ts_copy(request, data)) {
                    const char *ticket = ts_start(request);
                    assert(!ticket || !*ticket || !strcmp(ticket, "file:3:5"));
                    if (!ticket)
                        ts_fail(request, 7, "nobody waits");
                    else
                        answer(request, data + row[ROW_HEAD + 2], row[ROW_HEAD + 3]);
                }
                free(data);
            }
            ts_release(opened);
        }
    }
    return NULL;
}

static int open_model(Model *model, const char *name, const char *folder, const char *config,
                      char *text, int64_t size) {
    assert(!strcmp(name, "model") && !strcmp(folder, "/models/model/7") && !strcmp(config, "{}"));
    static const char *const inputs[] = {"in", "BUNDLE", NULL}, *const outputs[] = {"out", NULL};
    Settings settings = {QUEUE, 4, 150, getenv("WAIT") != NULL, false, "full", "stopping",
                         "BUNDLE", "identity", "ticket", "wire", "1", "1", inputs, outputs};
    ts_configure(model, &settings);
    opened = model;
    snprintf(text, size, "{\"done\": 1}");
    return 0;
}

static int add_workers(Model *model, int device, char *text, int64_t size) {
    (void)text;
    (void)size;
    assert(model == opened && device == 5);
    for (int i = 0; i < WORKERS; i++) pthread_create(workers + i, NULL, work, (void *)(intptr_t)i);
    return 0;
}

static void take(Model *model, Request *request) {
    int64_t row[64];
    assert(ts_describe(request, row, 64) == row[ROW_LENGTH]);
    if (row[ROW_HEAD] == 0) {
        const char *identity = ts_identity(request);
        assert(!strcmp(ts_id(request), "an-id") && !strcmp(ts_wire(request), "1"));
        if (strcmp(identity, "right")) {
            ts_fail(request, CODE_INVALID_ARG, "another identity");
        } else {
            ts_accept(model, identity);
            ts_enqueue(model, request);
        }
        return;
    }
    Bundle *bundle = calloc(1, sizeof *bundle);
    *bundle = (Bundle){.request = request, .missing = IN_BUNDLE, .size = row[ROW_HEAD + 3]};
    if (ts_copy(request, bundle->data)) {
        free(bundle);
        return;
    }
    for (int i = 0; i < IN_BUNDLE; i++)
        if (ts_reserve(model))
            gather(bundle);
        else
            ts_put(model, (int64_t)bundle, 10);
}

static void close_model(Model *model) {
    ts_close(model);
    for (int i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
}

const Callbacks *start_python(char *text, size_t size) {
    (void)text;
    (void)size;
    static const Callbacks callbacks = {open_model, add_workers, take, close_model};
    return &callbacks;
}

/* -- the test ---------------------------------------------------------------------------------- */

Error *TRITONBACKEND_Initialize(Backend *);
Error *TRITONBACKEND_ModelInitialize(TritonModel *);
Error *TRITONBACKEND_ModelFinalize(TritonModel *);
Error *TRITONBACKEND_ModelInstanceInitialize(TritonInstance *);
Error *TRITONBACKEND_ModelInstanceFinalize(TritonInstance *);
Error *TRITONBACKEND_ModelInstanceExecute(TritonInstance *, TritonRequest **, uint32_t);

static TritonModel model;
static TritonInstance instance = {NULL, &model};

static TritonRequest *new_request(int number) {
    TritonRequest *request = calloc(1, sizeof *request);
    request->number = number;
    request->n_inputs = 1;
    request->identity = number % 5 == 4 ? (number % 25 == 24 ? "wrong" : "right") : NULL;
    bool bundle = number % 7 == 6;
    int64_t size = 1 + number % 60;
    const char *name = number % 37 == 36 ? "unknown" : bundle ? "BUNDLE" : "in";
    request->inputs[0] = (Input){name, {size}, size, number % 43 == 42 ? 2 : IN_CPU, malloc(size)};
    for (int i = 0; i < size; i++) request->inputs[0].data[i] = (char)(number + i);
    return request;
}

static void *send_requests(void *first) {
    for (int i = 0; i < EACH; i++) {
        TritonRequest *requests[] = {new_request((int)(intptr_t)first + 2 * i),
                                     new_request((int)(intptr_t)first + 2 * i + 1)};
        Error *error = TRITONBACKEND_ModelInstanceExecute(&instance, requests, 2);
        assert(!error);
        if (i % 10 == 9) usleep(100);
    }
    return NULL;
}

/* Requests one by one go to one worker, which keeps their data in its processor's caches. */
static void send_one_by_one(void) {
    for (int i = 0; i < ALONE; i++) {
        TritonRequest *requests[] = {new_request(0)};
        Error *error = TRITONBACKEND_ModelInstanceExecute(&instance, requests, 1);
        assert(!error);
        usleep(3000); /* until the worker waits again */
    }
    long most = 0, sum = 0;
    for (int i = 0; i < WORKERS; i++) {
        long n = __atomic_load_n(taken + i, __ATOMIC_RELAXED);
        sum += n;
        if (n > most) most = n;
    }
    printf("one by one: %ld of %ld by one worker\n", most, sum);
    assert(sum == ALONE && most > ALONE * 3 / 4);
}

int main(void) {
    pthread_t senders[SENDERS];
    Error *error = TRITONBACKEND_Initialize(NULL);
    if (!error) error = TRITONBACKEND_ModelInitialize(&model);
    if (!error) error = TRITONBACKEND_ModelInstanceInitialize(&instance);
    assert(!error);
    usleep(100000); /* until all workers wait */
    send_one_by_one();
    for (intptr_t i = 0; i < SENDERS; i++)
        pthread_create(senders + i, NULL, send_requests, (void *)(i * 2 * EACH));
    for (int i = 0; i < SENDERS; i++) pthread_join(senders[i], NULL);
    ts_refuse_new(opened);
    send_requests(0); /* all are refused */
    int64_t counts[3];
    do ts_counts(opened, counts); while (counts[0]);
    long total = 2L * EACH * (SENDERS + 1) + ALONE;
    printf("%ld answered, %ld failed, %ld released of %ld\n", answered, failed, released, total);
    assert(answered + failed == total && released == total && reported == total);
    assert(succeeded == answered && answered > 0 && counts[1] + counts[2] < total && counts[2] > 0);
    assert(in_batches > 0);
    TRITONBACKEND_ModelInstanceFinalize(&instance);
    TRITONBACKEND_ModelFinalize(&model);
    return 0;
}
