// Helpers for handlers in C, beside the bindings of handler.h: plans, responses and JSON. `galo bindings c` writes both.
//
// Memory is never given back: each call runs on a fresh instance, which is dropped whole.
#ifndef GALO_H
#define GALO_H

#include "handler.h"

// A text that grows. Begin with `{0}`.
typedef struct {
  uint8_t *ptr;
  size_t len, size;
} galo_text_t;

// Appends bytes, or a text that ends with a zero, as they are.
void galo_put_bytes(galo_text_t *text, const void *bytes, size_t len);
void galo_put(galo_text_t *text, const char *string);
// Appends a string as JSON, with its quotes.
void galo_put_string(galo_text_t *text, handler_string_t string);
// Appends a number.
void galo_put_integer(galo_text_t *text, int64_t number);
// Appends a value of a row as JSON: bytes as base64, a timestamp as `2024-01-17T02:34:41.217753Z`.
void galo_put_value(galo_text_t *text, const galo_value_t *value);
// Appends a row as a JSON object with the names of its columns.
void galo_put_row(galo_text_t *text, const galo_rows_t *rows, size_t row);

// How many rows there are.
size_t galo_count(const galo_rows_t *rows);

// Makes the response that has this text as JSON.
void galo_json(galo_response_t *response, uint16_t status, const galo_text_t *body);
// Makes the response `{"error": message}`.
void galo_error(galo_response_t *response, uint16_t status, const char *message);
// Adds a line to the log of a response.
void galo_log(galo_response_t *response, galo_level_t level, const char *text);

// Plans the call of a procedure, without a carry. Returns its arguments, which are all NULL, to fill in.
galo_value_t *galo_call(galo_plan_t *plan, const char *procedure, size_t arguments);

// The value of a parameter of the route; NULL if the route has none of this name.
const handler_string_t *galo_parameter(const galo_request_t *request, const char *name);
// Reads a parameter that is a decimal number from 0 to `max`, without sign or leading zeros.
bool galo_decimal(const galo_request_t *request, const char *name, int64_t max, galo_value_t *argument);

#endif
