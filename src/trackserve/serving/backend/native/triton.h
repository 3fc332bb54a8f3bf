/* The part of Triton's C interface that this backend uses (backend API 1.19).
 *
 * Written by hand, so that nothing of Triton is needed to build the library. The server that loads
 * the library has the functions.
 */
#ifndef TRACKSERVE_TRITON_H
#define TRACKSERVE_TRITON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TRITONSERVER_Error Error;
typedef struct TRITONSERVER_Message Message;
typedef struct TRITONBACKEND_Backend Backend;
typedef struct TRITONBACKEND_Model TritonModel;
typedef struct TRITONBACKEND_ModelInstance TritonInstance;
typedef struct TRITONBACKEND_Request TritonRequest;
typedef struct TRITONBACKEND_Response Response;
typedef struct TRITONBACKEND_Input Input;
typedef struct TRITONBACKEND_Output Output;

enum { CODE_INTERNAL = 1, CODE_INVALID_ARG = 3, CODE_UNAVAILABLE = 4 };
enum { IN_CPU = 0, IN_PINNED = 1 };
enum { KIND_GPU = 2 };
enum { PARAMETER_STRING = 0 };
enum { LOG_ERROR = 2 };
enum { RELEASE_ALL = 1, RESPONSE_FINAL = 1 };

Error *TRITONSERVER_ErrorNew(int code, const char *message);
void TRITONSERVER_ErrorDelete(Error *error);
const char *TRITONSERVER_ErrorMessage(Error *error);
Error *TRITONSERVER_LogMessage(int level, const char *file, int line, const char *message);
Error *TRITONSERVER_MessageNewFromSerializedJson(Message **made, const char *text, size_t size);
Error *TRITONSERVER_MessageSerializeToJson(Message *message, const char **text, size_t *size);
Error *TRITONSERVER_MessageDelete(Message *message);

Error *TRITONBACKEND_ApiVersion(uint32_t *major, uint32_t *minor);
Error *TRITONBACKEND_ModelName(TritonModel *model, const char **name);
Error *TRITONBACKEND_ModelVersion(TritonModel *model, uint64_t *version);
Error *TRITONBACKEND_ModelRepository(TritonModel *model, int *type, const char **location);
Error *TRITONBACKEND_ModelConfig(TritonModel *model, uint32_t version, Message **config);
Error *TRITONBACKEND_ModelAutoCompleteConfig(TritonModel *model, bool *wanted);
Error *TRITONBACKEND_ModelSetConfig(TritonModel *model, uint32_t version, Message *config);
Error *TRITONBACKEND_ModelState(TritonModel *model, void **state);
Error *TRITONBACKEND_ModelSetState(TritonModel *model, void *state);
Error *TRITONBACKEND_ModelInstanceKind(TritonInstance *instance, int *kind);
Error *TRITONBACKEND_ModelInstanceDeviceId(TritonInstance *instance, int32_t *device);
Error *TRITONBACKEND_ModelInstanceModel(TritonInstance *instance, TritonModel **model);
Error *TRITONBACKEND_ModelInstanceState(TritonInstance *instance, void **state);
Error *TRITONBACKEND_ModelInstanceSetState(TritonInstance *instance, void *state);
Error *TRITONBACKEND_ModelInstanceReportStatistics(TritonInstance *instance,
                                                   TritonRequest *request, bool success,
                                                   uint64_t exec_start, uint64_t compute_start,
                                                   uint64_t compute_end, uint64_t exec_end);
Error *TRITONBACKEND_ModelInstanceReportBatchStatistics(TritonInstance *instance, uint64_t size,
                                                        uint64_t exec_start,
                                                        uint64_t compute_start,
                                                        uint64_t compute_end, uint64_t exec_end);
Error *TRITONBACKEND_RequestInputCount(TritonRequest *request, uint32_t *count);
Error *TRITONBACKEND_RequestInputByIndex(TritonRequest *request, uint32_t index, Input **input);
Error *TRITONBACKEND_RequestOutputCount(TritonRequest *request, uint32_t *count);
Error *TRITONBACKEND_RequestOutputName(TritonRequest *request, uint32_t index, const char **name);
Error *TRITONBACKEND_RequestParameterCount(TritonRequest *request, uint32_t *count);
Error *TRITONBACKEND_RequestParameter(TritonRequest *request, uint32_t index, const char **key,
                                      int *type, const void **value);
Error *TRITONBACKEND_RequestId(TritonRequest *request, const char **id);
Error *TRITONBACKEND_RequestIsCancelled(TritonRequest *request, bool *cancelled);
Error *TRITONBACKEND_RequestRelease(TritonRequest *request, uint32_t flags);
Error *TRITONBACKEND_InputProperties(Input *input, const char **name, int *type,
                                     const int64_t **shape, uint32_t *n_dims, uint64_t *size,
                                     uint32_t *n_buffers);
Error *TRITONBACKEND_InputBuffer(Input *input, uint32_t index, const void **buffer,
                                 uint64_t *size, int *memory, int64_t *memory_id);
Error *TRITONBACKEND_ResponseNew(Response **response, TritonRequest *request);
Error *TRITONBACKEND_ResponseOutput(Response *response, Output **output, const char *name,
                                    int type, const int64_t *shape, uint32_t n_dims);
Error *TRITONBACKEND_OutputBuffer(Output *output, void **buffer, uint64_t size, int *memory,
                                  int64_t *memory_id);
Error *TRITONBACKEND_ResponseSend(Response *response, uint32_t flags, Error *error);

#endif
