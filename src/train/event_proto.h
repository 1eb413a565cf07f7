/* SPDX-License-Identifier: MIT */
/* The messages of a TensorBoard event file that nibble writes, for protobuf-c: the fields of
 * tensorflow's event.proto and summary.proto that are used here, by their published numbers. The
 * descriptors are tables in event_proto.c, so that no generator is needed to build. Tests read
 * files with the same tables. */
#ifndef NBI_EVENT_PROTO_H
#define NBI_EVENT_PROTO_H

#include <protobuf-c/protobuf-c.h>

/* SummaryMetadata.PluginData */
typedef struct nbi_pb_plugin {
    ProtobufCMessage base;
    char *plugin_name;
} nbi_pb_plugin;

typedef struct nbi_pb_metadata {
    ProtobufCMessage base;
    nbi_pb_plugin *plugin_data;
} nbi_pb_metadata;

/* A tensor of texts without dimensions. */
typedef struct nbi_pb_tensor {
    ProtobufCMessage base;
    int32_t dtype; /* NBI_PB_DT_STRING */
    size_t n_string_val;
    ProtobufCBinaryData *string_val;
} nbi_pb_tensor;
#define NBI_PB_DT_STRING 7

/* Summary.Value: a number, or a tensor of texts with metadata. */
typedef struct nbi_pb_value {
    ProtobufCMessage base;
    char *tag;
    protobuf_c_boolean has_simple_value;
    float simple_value;
    nbi_pb_tensor *tensor;
    nbi_pb_metadata *metadata;
} nbi_pb_value;

typedef struct nbi_pb_summary {
    ProtobufCMessage base;
    size_t n_value;
    nbi_pb_value **value;
} nbi_pb_summary;

typedef struct nbi_pb_session {
    ProtobufCMessage base;
    int32_t status; /* NBI_PB_SESSION_START */
} nbi_pb_session;
#define NBI_PB_SESSION_START 1

/* One record: a file version, a summary, or a session mark. */
typedef struct nbi_pb_event {
    ProtobufCMessage base;
    double wall_time; /* seconds since 1970 */
    int64_t step;
    char *file_version;
    nbi_pb_summary *summary;
    nbi_pb_session *session_log;
} nbi_pb_event;

extern const ProtobufCMessageDescriptor nbi_pb_plugin_type, nbi_pb_metadata_type,
    nbi_pb_tensor_type, nbi_pb_value_type, nbi_pb_summary_type, nbi_pb_session_type,
    nbi_pb_event_type;

/* First member of an initialiser. */
#define NBI_PB_INIT(type) .base = PROTOBUF_C_MESSAGE_INIT(&type)

#endif
