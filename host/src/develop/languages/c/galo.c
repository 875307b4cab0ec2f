// See galo.h.

#include "galo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// handler.c refers to the object with the description of the world, which `galo componentize` adds instead.
void __component_type_object_force_link_handler(void) {}

// Memory that is all zero. Without any left the call ends in a trap, which the host logs.
static void *zeroed(size_t count, size_t size) {
  void *memory = calloc(count > 0 ? count : 1, size);
  if (memory == NULL)
    __builtin_trap();
  return memory;
}

void galo_put_bytes(galo_text_t *text, const void *bytes, size_t len) {
  if (len > text->size - text->len) {
    size_t size = text->size < 128 ? 256 : text->size * 2;
    if (size < text->len + len)
      size = text->len + len;
    text->ptr = realloc(text->ptr, size);
    text->size = size;
    if (text->ptr == NULL)
      __builtin_trap();
  }
  if (len > 0)
    memcpy(text->ptr + text->len, bytes, len);
  text->len += len;
}

void galo_put(galo_text_t *text, const char *string) { galo_put_bytes(text, string, strlen(string)); }

void galo_put_string(galo_text_t *text, handler_string_t string) {
  galo_put(text, "\"");
  size_t begin = 0;
  for (size_t i = 0; i < string.len; i++) {
    uint8_t c = string.ptr[i];
    if (c >= 0x20 && c != '"' && c != '\\')
      continue;
    galo_put_bytes(text, string.ptr + begin, i - begin);
    begin = i + 1;
    const char *hex = "0123456789abcdef";
    char escape[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15], 0};
    if (c == '"' || c == '\\') {
      escape[1] = (char)c;
      escape[2] = 0;
    }
    galo_put(text, escape);
  }
  galo_put_bytes(text, string.ptr + begin, string.len - begin);
  galo_put(text, "\"");
}

void galo_put_integer(galo_text_t *text, int64_t number) {
  char digits[24], *first = digits + sizeof digits - 1;
  uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  *first = 0;
  do
    *--first = (char)('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (number < 0)
    *--first = '-';
  galo_put(text, first);
}

// The shortest text that is read as the same number. JSON has no infinity and no NaN: those are strings.
static void put_float(galo_text_t *text, double number) {
  char digits[40];
  if (number != number || number - number != 0) {
    galo_put(text, number != number ? "\"NaN\"" : number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    return;
  }
  for (int precision = 15; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, number);
    if (strtod(digits, NULL) == number)
      break;
  }
  galo_put(text, digits);
  if (strpbrk(digits, ".e") == NULL)
    galo_put(text, ".0");
}

static void put_base64(galo_text_t *text, handler_list_u8_t bytes) {
  const char *letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  galo_put(text, "\"");
  for (size_t i = 0; i < bytes.len; i += 3) {
    size_t left = bytes.len - i;
    uint32_t three = (uint32_t)bytes.ptr[i] << 16;
    three |= left > 1 ? (uint32_t)bytes.ptr[i + 1] << 8 : 0;
    three |= left > 2 ? bytes.ptr[i + 2] : 0;
    char four[] = {letters[three >> 18], letters[three >> 12 & 63], left > 1 ? letters[three >> 6 & 63] : '=',
                   left > 2 ? letters[three & 63] : '='};
    galo_put_bytes(text, four, sizeof four);
  }
  galo_put(text, "\"");
}

// A number with leading zeros.
static void put_padded(galo_text_t *text, int64_t number, int digits) {
  char padded[8];
  for (int i = digits - 1; i >= 0; i--, number /= 10)
    padded[i] = (char)('0' + number % 10);
  galo_put_bytes(text, padded, (size_t)digits);
}

// Microseconds since 1970, of the years 0 to 9999. The date is that of the proleptic Gregorian calendar.
static void put_timestamp(galo_text_t *text, int64_t micros) {
  const int64_t day = INT64_C(86400000000);
  int64_t days = micros / day, rest = micros % day;
  if (rest < 0) {
    rest += day;
    days--;
  }
  // Counted from the first of March of the year 0, so that a leap day is the last day of its year.
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
  int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t shifted = (5 * of_year + 2) / 153, month = shifted < 10 ? shifted + 3 : shifted - 9;
  galo_put(text, "\"");
  put_padded(text, year_of_era + era * 400 + (month <= 2), 4);
  galo_put(text, "-");
  put_padded(text, month, 2);
  galo_put(text, "-");
  put_padded(text, of_year - (153 * shifted + 2) / 5 + 1, 2);
  galo_put(text, "T");
  put_padded(text, rest / 3600000000, 2);
  galo_put(text, ":");
  put_padded(text, rest / 60000000 % 60, 2);
  galo_put(text, ":");
  put_padded(text, rest / 1000000 % 60, 2);
  galo_put(text, ".");
  put_padded(text, rest % 1000000, 6);
  galo_put(text, "Z\"");
}

void galo_put_value(galo_text_t *text, const galo_value_t *value) {
  switch (value->tag) {
  case GALO_VALUE_BOOLEAN:
    galo_put(text, value->val.boolean ? "true" : "false");
    break;
  case GALO_VALUE_INTEGER:
    galo_put_integer(text, value->val.integer);
    break;
  case GALO_VALUE_FLOAT:
    put_float(text, value->val.float_);
    break;
  case GALO_VALUE_TEXT:
    galo_put_string(text, value->val.text);
    break;
  case GALO_VALUE_BYTES:
    put_base64(text, value->val.bytes);
    break;
  case GALO_VALUE_TIMESTAMP:
    put_timestamp(text, value->val.timestamp);
    break;
  case GALO_VALUE_JSON:
    galo_put_bytes(text, value->val.json.ptr, value->val.json.len);
    break;
  default:
    galo_put(text, "null");
  }
}

size_t galo_count(const galo_rows_t *rows) {
  return rows->columns.len == 0 ? 0 : rows->values.len / rows->columns.len;
}

void galo_put_row(galo_text_t *text, const galo_rows_t *rows, size_t row) {
  for (size_t column = 0; column < rows->columns.len; column++) {
    galo_put(text, column == 0 ? "{" : ",");
    galo_put_string(text, rows->columns.ptr[column]);
    galo_put(text, ":");
    galo_put_value(text, &rows->values.ptr[row * rows->columns.len + column]);
  }
  galo_put(text, rows->columns.len == 0 ? "{}" : "}");
}

void galo_json(galo_response_t *response, uint16_t status, const galo_text_t *body) {
  memset(response, 0, sizeof *response);
  response->status = status;
  response->headers.ptr = zeroed(1, sizeof *response->headers.ptr);
  response->headers.len = 1;
  handler_string_dup(&response->headers.ptr[0].name, "content-type");
  handler_string_dup(&response->headers.ptr[0].value, "application/json");
  response->body.ptr = body->ptr;
  response->body.len = body->len;
}

void galo_error(galo_response_t *response, uint16_t status, const char *message) {
  galo_text_t body = {0};
  handler_string_t string = {(uint8_t *)message, strlen(message)};
  galo_put(&body, "{\"error\":");
  galo_put_string(&body, string);
  galo_put(&body, "}");
  galo_json(response, status, &body);
}

void galo_log(galo_response_t *response, galo_level_t level, const char *text) {
  size_t len = response->log.len;
  response->log.ptr = realloc(response->log.ptr, (len + 1) * sizeof *response->log.ptr);
  if (response->log.ptr == NULL)
    __builtin_trap();
  response->log.ptr[len].level = level;
  handler_string_dup(&response->log.ptr[len].text, text);
  response->log.len = len + 1;
}

galo_value_t *galo_call(galo_plan_t *plan, const char *procedure, size_t arguments) {
  memset(plan, 0, sizeof *plan);
  plan->tag = GALO_PLAN_CALL;
  handler_string_dup(&plan->val.call.procedure, procedure);
  plan->val.call.arguments.ptr = zeroed(arguments, sizeof(galo_value_t));
  plan->val.call.arguments.len = arguments;
  return plan->val.call.arguments.ptr;
}

const handler_string_t *galo_parameter(const galo_request_t *request, const char *name) {
  size_t len = strlen(name);
  for (size_t i = 0; i < request->parameters.len; i++) {
    const galo_field_t *field = &request->parameters.ptr[i];
    if (field->name.len == len && memcmp(field->name.ptr, name, len) == 0)
      return &field->value;
  }
  return NULL;
}

bool galo_decimal(const galo_request_t *request, const char *name, int64_t max, galo_value_t *argument) {
  const handler_string_t *text = galo_parameter(request, name);
  if (text == NULL || text->len == 0 || (text->len > 1 && text->ptr[0] == '0'))
    return false;
  int64_t number = 0;
  for (size_t i = 0; i < text->len; i++) {
    int digit = text->ptr[i] - '0';
    if (digit < 0 || digit > 9 || number > (max - digit) / 10)
      return false;
    number = number * 10 + digit;
  }
  argument->tag = GALO_VALUE_INTEGER;
  argument->val.integer = number;
  return true;
}
