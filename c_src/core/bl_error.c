/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "beamline/core.h"

const char *bl_version(void) { return BL_BUILD_VERSION; }

static const char *const status_names[BL_STATUS_COUNT] = {
    [BL_OK] = "ok",
    [BL_BUSY] = "busy",
    [BL_TIMEOUT] = "timeout",
    [BL_CANCELLED] = "cancelled",
    [BL_CLOSED] = "closed",
    [BL_LIMIT] = "limit",
    [BL_SYNTAX] = "syntax",
    [BL_INVALID] = "invalid",
    [BL_TRAP] = "trap",
    [BL_UNSUPPORTED] = "unsupported",
    [BL_HOST_EXITED] = "host_exited",
    [BL_DEVICE_FAILED] = "device_failed",
    [BL_NO_MEMORY] = "no_memory",
};

const char *bl_status_name(enum bl_status status)
{
    return (unsigned)status < BL_STATUS_COUNT ? status_names[status] : "unknown";
}

/* Cuts a byte sequence of a code point that did not fit entirely. */
static void trim_utf8(char *text)
{
    size_t len = strlen(text), start = len;
    while (start > 0 && len - start < 4 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) start--;
    if (start == 0) return;
    const unsigned char lead = (unsigned char)text[start - 1];
    const size_t have = len - (start - 1);
    const size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (have < want) text[start - 1] = '\0';
}

static void copy_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
    trim_utf8(out);
}

static void format_text(struct bl_error *err, const char *format, va_list args)
{
    vsnprintf(err->text, sizeof err->text, format, args);
    trim_utf8(err->text);
}

enum bl_status bl_fail(struct bl_error *err, enum bl_status status)
{
    if (err) *err = (struct bl_error){.status = status};
    return status;
}

enum bl_status bl_fail_busy(struct bl_error *err, uint64_t retry_after_ms)
{
    if (err) *err = (struct bl_error){.status = BL_BUSY, .retry_after_ms = retry_after_ms};
    return BL_BUSY;
}

enum bl_status bl_fail_limit(struct bl_error *err, const char *what, uint64_t limit, uint64_t asked)
{
    if (!err) return BL_LIMIT;
    *err = (struct bl_error){.status = BL_LIMIT, .limit = limit, .asked = asked};
    copy_text(err->subject, sizeof err->subject, what);
    return BL_LIMIT;
}

enum bl_status bl_fail_invalid(struct bl_error *err, const char *field, const char *why, ...)
{
    if (!err) return BL_INVALID;
    *err = (struct bl_error){.status = BL_INVALID};
    copy_text(err->subject, sizeof err->subject, field);
    va_list args;
    va_start(args, why);
    format_text(err, why, args);
    va_end(args);
    return BL_INVALID;
}

enum bl_status bl_fail_unsupported(struct bl_error *err, const char *what)
{
    if (!err) return BL_UNSUPPORTED;
    *err = (struct bl_error){.status = BL_UNSUPPORTED};
    copy_text(err->subject, sizeof err->subject, what);
    return BL_UNSUPPORTED;
}

enum bl_status bl_fail_syntax(struct bl_error *err, uint32_t line, uint32_t column, const char *expected, ...)
{
    if (!err) return BL_SYNTAX;
    *err = (struct bl_error){.status = BL_SYNTAX, .line = line, .column = column};
    va_list args;
    va_start(args, expected);
    format_text(err, expected, args);
    va_end(args);
    return BL_SYNTAX;
}

enum bl_status bl_fail_syntax_at(struct bl_error *err, uint64_t offset, const char *expected, ...)
{
    if (!err) return BL_SYNTAX;
    *err = (struct bl_error){.status = BL_SYNTAX, .offset = offset};
    va_list args;
    va_start(args, expected);
    format_text(err, expected, args);
    va_end(args);
    return BL_SYNTAX;
}

size_t bl_error_format(const struct bl_error *err, char *out, size_t size)
{
    const char *name = bl_status_name(err->status);
    int n;
    switch (err->status) {
    case BL_BUSY:
        n = snprintf(out, size, "busy: retry after %llu ms", (unsigned long long)err->retry_after_ms);
        break;
    case BL_LIMIT:
        n = snprintf(out, size, "limit: %s: %llu asked, %llu allowed", err->subject, (unsigned long long)err->asked,
                     (unsigned long long)err->limit);
        break;
    case BL_SYNTAX:
        n = err->line > 0 ? snprintf(out, size, "syntax: line %u, column %u: expected %s", err->line, err->column, err->text)
                          : snprintf(out, size, "syntax: offset %llu: expected %s", (unsigned long long)err->offset, err->text);
        break;
    default:
        n = snprintf(out, size, "%s%s%s%s%s", name, err->subject[0] ? ": " : "", err->subject, err->text[0] ? ": " : "",
                     err->text);
    }
    return n > 0 ? (size_t)n : 0;
}
