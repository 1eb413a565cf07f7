/* SPDX-License-Identifier: MIT */
#include "train/event_proto.h"

#include <stddef.h>

/* A field that is left out when it is zero or empty (proto3), one that says whether it is there,
 * a message, and a list. */
#define PLAIN(rec, text, number, kind)                                                             \
    {                                                                                              \
        .name = #text, .id = number, .label = PROTOBUF_C_LABEL_NONE,                               \
        .type = PROTOBUF_C_TYPE_##kind, .offset = offsetof(rec, text)                              \
    }
#define STATED(rec, text, number, kind)                                                            \
    {                                                                                              \
        .name = #text, .id = number, .label = PROTOBUF_C_LABEL_OPTIONAL,                           \
        .type = PROTOBUF_C_TYPE_##kind, .quantifier_offset = offsetof(rec, has_##text),            \
        .offset = offsetof(rec, text)                                                              \
    }
#define MESSAGE(rec, text, number, of)                                                             \
    {                                                                                              \
        .name = #text, .id = number, .label = PROTOBUF_C_LABEL_OPTIONAL,                           \
        .type = PROTOBUF_C_TYPE_MESSAGE, .offset = offsetof(rec, text), .descriptor = &of          \
    }
#define LIST(rec, text, number, kind, of)                                                          \
    {                                                                                              \
        .name = #text, .id = number, .label = PROTOBUF_C_LABEL_REPEATED,                           \
        .type = PROTOBUF_C_TYPE_##kind, .quantifier_offset = offsetof(rec, n_##text),              \
        .offset = offsetof(rec, text), .descriptor = of                                            \
    }
/* `runs`: {first number, its place in the table} of each run of consecutive numbers; `names`:
 * places of the fields by name. */
#define TYPE(type, full, table, names, runs)                                                       \
    const ProtobufCMessageDescriptor type##_type = {.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC, \
                                                    .name = full,                                  \
                                                    .short_name = full,                            \
                                                    .c_name = full,                                \
                                                    .package_name = "",                            \
                                                    .sizeof_message = sizeof(type),                \
                                                    .n_fields = sizeof(table) / sizeof *(table),   \
                                                    .fields = table,                               \
                                                    .fields_sorted_by_name = names,                \
                                                    .n_field_ranges =                              \
                                                        sizeof(runs) / sizeof *(runs)-1,           \
                                                    .field_ranges = runs}

/* a proto3 text that is absent reads as "" */
#define TEXT(rec, text, number)                                                                    \
    {                                                                                              \
        .name = #text, .id = number, .label = PROTOBUF_C_LABEL_NONE,                               \
        .type = PROTOBUF_C_TYPE_STRING, .offset = offsetof(rec, text),                             \
        .default_value = protobuf_c_empty_string                                                   \
    }

static const unsigned first_name[] = {0};
static const ProtobufCIntRange from_1[] = {{1, 0}, {0, 1}};

static const ProtobufCFieldDescriptor plugin_fields[] = {TEXT(nbi_pb_plugin, plugin_name, 1)};
TYPE(nbi_pb_plugin, "PluginData", plugin_fields, first_name, from_1);

static const ProtobufCFieldDescriptor metadata_fields[] = {
    MESSAGE(nbi_pb_metadata, plugin_data, 1, nbi_pb_plugin_type)};
TYPE(nbi_pb_metadata, "SummaryMetadata", metadata_fields, first_name, from_1);

static const ProtobufCFieldDescriptor tensor_fields[] = {
    PLAIN(nbi_pb_tensor, dtype, 1, INT32), LIST(nbi_pb_tensor, string_val, 8, BYTES, NULL)};
static const unsigned tensor_names[] = {0, 1};
static const ProtobufCIntRange tensor_runs[] = {{1, 0}, {8, 1}, {0, 2}};
TYPE(nbi_pb_tensor, "TensorProto", tensor_fields, tensor_names, tensor_runs);

static const ProtobufCFieldDescriptor value_fields[] = {
    TEXT(nbi_pb_value, tag, 1), STATED(nbi_pb_value, simple_value, 2, FLOAT),
    MESSAGE(nbi_pb_value, tensor, 8, nbi_pb_tensor_type),
    MESSAGE(nbi_pb_value, metadata, 9, nbi_pb_metadata_type)};
static const unsigned value_names[] = {3, 1, 0, 2};
static const ProtobufCIntRange value_runs[] = {{1, 0}, {8, 2}, {0, 4}};
TYPE(nbi_pb_value, "SummaryValue", value_fields, value_names, value_runs);

static const ProtobufCFieldDescriptor summary_fields[] = {
    LIST(nbi_pb_summary, value, 1, MESSAGE, &nbi_pb_value_type)};
TYPE(nbi_pb_summary, "Summary", summary_fields, first_name, from_1);

static const ProtobufCFieldDescriptor session_fields[] = {PLAIN(nbi_pb_session, status, 1, INT32)};
TYPE(nbi_pb_session, "SessionLog", session_fields, first_name, from_1);

static const ProtobufCFieldDescriptor event_fields[] = {
    PLAIN(nbi_pb_event, wall_time, 1, DOUBLE), PLAIN(nbi_pb_event, step, 2, INT64),
    TEXT(nbi_pb_event, file_version, 3), MESSAGE(nbi_pb_event, summary, 5, nbi_pb_summary_type),
    MESSAGE(nbi_pb_event, session_log, 7, nbi_pb_session_type)};
static const unsigned event_names[] = {2, 4, 1, 3, 0};
static const ProtobufCIntRange event_runs[] = {{1, 0}, {5, 3}, {7, 4}, {0, 5}};
TYPE(nbi_pb_event, "Event", event_fields, event_names, event_runs);
